//! Merging two contacts of the same person.

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

/// Two contacts to merge.
#[derive(InputObject)]
pub struct MergeContactsInput {
    /// Id of the contact to keep. It keeps its name, locale, time zone, metadata and primary
    /// addresses.
    keep_id: ID,
    /// Id of the contact whose addresses and tags are moved to the other contact. It is then
    /// deleted with the rest of its data.
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
    /// Merges two contacts of the account into one of them. If a merge is interrupted, repeat it;
    /// until then neither contact can be changed in another way. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn merge_contacts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact to keep and the contact to merge into it.")]
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
