//! Canceling messages that have not been submitted to the carrier.

use async_graphql::{Context, ID, Object, Result};
use entity::message;

use super::Message;
use crate::{
    domain::message::cancel as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        input::parse_id,
        payload::payload,
    },
};

payload! {
    /// Result of cancelMessage.
    CancelMessagePayload, domain::CancelMessageRefusal, message::Model as row => {
        /// The message, which is now CANCELED; null if the mutation was refused.
        message: Option<Message> = Some(Message(row)),
    }
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
        CancelMessagePayload::of(domain::cancel(ctx.app()?, &ctx.account()?, parse_id(&id)).await)
    }
}
