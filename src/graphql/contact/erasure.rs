//! Deleting a contact, which erases the person's data.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};

use crate::{
    domain::contact::erasure as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        errors::{UserError, outcome},
        team::sub_account::parse_id,
    },
};

/// Why a contact was not deleted.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::DeleteContactRefusal")]
pub enum DeleteContactErrorCode {
    /// The account has no such contact.
    NotFound,
    /// A message to one of its addresses waits to be handed over, or the contact is being merged. Try
    /// again when the message was handed over.
    ContactInUse,
}

/// The answer to deleteContact.
#[derive(SimpleObject)]
pub struct DeleteContactPayload {
    /// The id of the contact that was deleted; null if refused.
    contact_id: Option<ID>,
    /// How many messages lost their recipient and text; null if refused.
    messages_erased: Option<i32>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<DeleteContactErrorCode>>,
}

#[derive(Default)]
pub struct ContactErasureMutation;

#[Object]
impl ContactErasureMutation {
    /// Deletes a contact permanently and erases the person's data. The contact and its addresses
    /// are deleted. Every LIVE and TEST message of the account that was sent to the contact or to
    /// one of its addresses loses its recipient, contact, subject, text, HTML and errorMessage,
    /// which are null from then on. Status, cost and country of the message are kept, and so are
    /// your metadata and idempotencyKey. Opt-outs of the addresses are kept, because they protect
    /// the person. The deletion is refused while a message to the contact waits to be sent. If a
    /// deletion is interrupted, repeat it; until then the contact cannot be changed and nothing is
    /// sent to it. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn delete_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the contact.")] id: ID,
    ) -> Result<Option<DeleteContactPayload>> {
        let account = ctx.account()?.live()?;
        let done = domain::delete(ctx.app()?, &account, parse_id(&id)).await;
        Ok(Some(match outcome(done)? {
            Ok(erased) => DeleteContactPayload {
                contact_id: Some(erased.contact_id.into()),
                messages_erased: Some(i32::try_from(erased.messages).unwrap_or(i32::MAX)),
                errors: vec![],
            },
            Err(errors) => DeleteContactPayload { contact_id: None, messages_erased: None, errors },
        }))
    }
}
