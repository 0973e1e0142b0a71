//! Merging two contacts that turned out to be one person.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};

use super::Contact;
use crate::{
    domain::contact::merge as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        errors::{UserError, outcome},
        team::sub_account::parse_id,
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

/// Why contacts were not merged.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::MergeContactsRefusal")]
pub enum MergeContactsErrorCode {
    /// The account has no such contact.
    NotFound,
    /// Both are the same contact.
    SameContact,
    /// Together they have more than 20 addresses.
    TooManyAddresses,
    /// Together they have more than 50 tags.
    TooManyTags,
    /// One of them is being deleted, or merged with another contact.
    ContactInUse,
}

/// The answer to mergeContacts.
#[derive(SimpleObject)]
pub struct MergeContactsPayload {
    /// The contact that stays, as it is now; null if refused.
    contact: Option<Contact>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<MergeContactsErrorCode>>,
}

#[derive(Default)]
pub struct ContactMergeMutation;

#[Object]
impl ContactMergeMutation {
    /// Merges two contacts of the account of the key in use into one of them. A merge that broke off is finished by a
    /// repeat; until then neither contact is changed otherwise. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn merge_contacts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which contact stays, and which is merged into it.")]
        input: MergeContactsInput,
    ) -> Result<Option<MergeContactsPayload>> {
        let account = ctx.account()?.live()?;
        let (keep, merge) = (parse_id(&input.keep_id), parse_id(&input.merge_id));
        let done = domain::merge(ctx.app()?, &account, keep, merge).await;
        Ok(Some(match outcome(done)? {
            Ok(contact) => MergeContactsPayload { contact: Some(Contact(contact)), errors: vec![] },
            Err(errors) => MergeContactsPayload { contact: None, errors },
        }))
    }
}
