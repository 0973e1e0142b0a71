//! Canceling messages that were not submitted to the carrier.

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};

use super::Message;
use crate::{
    domain::message::cancel as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        errors::{UserError, outcome},
        team::sub_account::parse_id,
    },
};

/// Why a message was not canceled.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::CancelMessageRefusal")]
pub enum CancelMessageErrorCode {
    /// The account has no such message in the environment of the key in use.
    NotFound,
    /// It is being handed over, or was.
    AlreadySent,
    /// It has FAILED or EXPIRED, and was refunded.
    AlreadyEnded,
}

/// The answer to cancelMessage.
#[derive(SimpleObject)]
pub struct CancelMessagePayload {
    /// The message as it is now; null if refused.
    message: Option<Message>,
    /// Why it was refused; empty if it is CANCELED.
    errors: Vec<UserError<CancelMessageErrorCode>>,
}

#[derive(Default)]
pub struct ScheduleMutation;

#[Object]
impl ScheduleMutation {
    /// Cancels and refunds a message that is SCHEDULED or QUEUED. Canceling a CANCELED message
    /// changes nothing. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn cancel_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the message.")] id: ID,
    ) -> Result<Option<CancelMessagePayload>> {
        let done = domain::cancel(ctx.app()?, &ctx.account()?, parse_id(&id)).await;
        Ok(Some(match outcome(done)? {
            Ok(row) => CancelMessagePayload { message: Some(Message(row)), errors: vec![] },
            Err(errors) => CancelMessagePayload { message: None, errors },
        }))
    }
}
