//! Merging two contacts that turned out to be one person.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::{audit_entry::AuditAction, contact};

use super::Contact;
use crate::{
    domain::{audit_log::refused_call::Target, contact::merge as domain},
    graphql::{
        access::{self, ContextExt},
        audit_log::audited,
        input::parse_id,
        payload::payload,
    },
};

/// Two contacts that are to be one.
#[derive(InputObject)]
pub struct MergeContactsInput {
    /// The contact that stays. It keeps its name, locale, time zone, metadata and primary
    /// addresses.
    keep_id: ID,
    /// The contact whose addresses and tags move to the other. It is deleted with whatever else it
    /// has.
    merge_id: ID,
}

payload! {
    /// The answer to mergeContacts.
    MergeContactsPayload, domain::MergeContactsRefusal, contact::Model as contact => {
        /// The contact that stays, as it is now; null if refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

#[derive(Default)]
pub struct ContactMergeMutation;

#[Object]
impl ContactMergeMutation {
    /// Merges two contacts of the account of the key in use into one of them. A merge that broke off is finished by a
    /// repeat; until then neither contact is changed otherwise. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn merge_contacts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which contact stays, and which is merged into it.")]
        input: MergeContactsInput,
    ) -> Result<Option<MergeContactsPayload>> {
        let (keep, merge) = (parse_id(&input.keep_id), parse_id(&input.merge_id));
        let done = audited(ctx, AuditAction::MergeContacts, Target::Id(keep), async {
            domain::merge(ctx.app()?, &ctx.live_account()?, keep, merge).await
        });
        MergeContactsPayload::of(done.await)
    }
}
