//! Merging two contacts of the same person.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::{audit_entry::AuditAction, contact};

use super::Contact;
use crate::{
    domain::{audit_log::refused_call::Target, contact::merge as domain},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        audit_log::audited,
        input::parse_id,
        payload::payload,
    },
};

/// Two contacts to merge.
#[derive(InputObject)]
pub struct MergeContactsInput {
    /// Id of the contact to keep. It keeps its name, locale, time zone, metadata and primary
    /// addresses.
    keep_id: ID,
    /// Id of the contact whose addresses and tags are moved to the other contact. The contact is
    /// then deleted with the rest of its data.
    merge_id: ID,
}

payload! {
    /// Result of mergeContacts.
    MergeContactsPayload, domain::MergeContactsRefusal, contact::Model as contact => {
        /// The contact that was kept, after the merge; null if the mutation was refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

#[derive(Default)]
pub struct ContactMergeMutation;

#[Object]
impl ContactMergeMutation {
    /// Merges two contacts of your account into one of them. If a merge is interrupted, repeat it;
    /// until then, neither contact can be changed by other mutations. Requires a LIVE key of an
    /// account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn merge_contacts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact to keep and the contact to merge into it.")]
        input: MergeContactsInput,
    ) -> Result<Option<MergeContactsPayload>> {
        let (keep, merge) = (parse_id(&input.keep_id), parse_id(&input.merge_id));
        let done = audited(ctx, AuditAction::MergeContacts, Target::Id(keep), async {
            domain::merge(ctx.app()?, &ctx.live_account()?, keep, merge).await
        });
        MergeContactsPayload::of(done.await)
    }
}
