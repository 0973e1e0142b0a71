//! Messages: sending, listing and canceling messages, and the quiet hours of an account.

use async_graphql::{Context, ID, Object, Result};
use entity::message as rows;

use super::{
    access::ContextExt,
    contact::Contact,
    enums::{Channel, Environment, MessageStatus},
    loaders::{ContactId, SenderId},
    scalars::{Cents, DateTime, JsonObject},
    sender::Sender,
};
use crate::money::Micros;

pub mod cancel;
pub mod list;
pub mod quiet_hours;
pub mod send;

/// The GraphQL object `Message`.
pub struct Message(pub rows::Model);

/// A message of your account in the environment of your key.
#[Object]
impl Message {
    /// Id of the message.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Channel of the message.
    async fn channel(&self) -> Channel {
        self.0.channel.into()
    }

    /// Delivery status of the message.
    async fn status(&self) -> MessageStatus {
        self.0.status.into()
    }

    /// Environment of the key that sent the message.
    async fn environment(&self) -> Environment {
        self.0.environment.into()
    }

    /// Recipient: a phone number in E.164 format, an e-mail address, or a Telegram chat id. Null
    /// after the recipient's data has been erased.
    async fn to(&self) -> Option<&str> {
        (!self.0.is_erased()).then_some(&self.0.recipient)
    }

    /// Identity of the sender when the message was accepted: a phone number in E.164 format, an
    /// e-mail address with its display name, or the username of a bot. Null if the message was sent
    /// without a sender, for example because the account no longer had the phone number. The
    /// carrier then uses its default identity.
    async fn from(&self) -> Option<&str> {
        self.0.sent_from.as_deref()
    }

    /// Sender of the message in its current state; null if the message has no sender or the sender
    /// has been deleted.
    async fn sender(&self, ctx: &Context<'_>) -> Result<Option<Sender>> {
        Ok(ctx.load(self.0.sender_id.map(SenderId)).await?.map(Sender))
    }

    /// Subject of an e-mail; null if it has none, for other channels, or after the recipient's data
    /// has been erased.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.0.subject.as_deref())
    }

    /// Text of the message. Null if an e-mail has only HTML, or after the recipient's data has been
    /// erased.
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(Some(self.0.text.as_str()).filter(|text| !text.is_empty()))
    }

    /// HTML of an e-mail. Null if it has none, for other channels, or after the recipient's data
    /// has been erased.
    async fn html(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.0.html.as_deref())
    }

    /// Contact that the message was sent to. Null if it was sent to an address without a contact,
    /// or after the contact has been deleted. After a merge, it is the contact that was kept.
    async fn contact(&self, ctx: &Context<'_>) -> Result<Option<Contact>> {
        Ok(ctx.row(self.0.contact_id.map(ContactId)).await?.map(Contact))
    }

    /// Number of segments of the SMS; 1 for other channels.
    async fn segments(&self) -> i32 {
        self.0.segments
    }

    /// Amount that was charged, in cents. It is 0 in the TEST environment. A refund does not change
    /// this amount; see refundedAt.
    async fn cost(&self) -> Cents {
        Micros::from_db(self.0.cost_micros).into()
    }

    /// When the cost was refunded; null if it has not been refunded.
    async fn refunded_at(&self) -> Option<DateTime> {
        self.0.refunded_at.map(DateTime)
    }

    /// Machine-readable reason why the message was not delivered; null if there is none.
    async fn error_code(&self) -> Option<&str> {
        self.0.error_code.as_deref()
    }

    /// Human-readable explanation of why the message was not delivered. Null if there is none, or
    /// after the recipient's data has been erased.
    async fn error_message(&self) -> Option<&str> {
        self.0.error_message.as_deref()
    }

    /// Idempotency key with which the message was sent; null if there is none.
    async fn idempotency_key(&self) -> Option<&str> {
        self.0.idempotency_key.as_deref()
    }

    /// Your own data about the message; null if there is none.
    async fn metadata(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.metadata.as_deref(), ctx.reservation()?)?)
    }

    /// Requested time before which the message is not sent; null if it was to be sent immediately.
    async fn send_at(&self) -> Option<DateTime> {
        self.0.send_at.map(DateTime)
    }

    /// When the message expires. If it has not been submitted to the carrier by then, it becomes
    /// EXPIRED and is refunded. Null if it does not expire.
    async fn valid_until(&self) -> Option<DateTime> {
        self.0.valid_until.map(DateTime)
    }

    /// When the message was accepted.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the status of the message last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}
