//! Messages: what they are, and how they are sent and quoted.

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
use crate::domain::account::stored;

pub mod cancel;
pub mod list;
pub mod quiet_hours;
pub mod send;

/// GraphQL's `Message`, described there.
pub struct Message(pub rows::Model);

/// A message of the account and environment of the key in use.
#[Object]
impl Message {
    /// The message's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The way it travels.
    async fn channel(&self) -> Channel {
        self.0.channel.into()
    }

    /// Where it is on its way.
    async fn status(&self) -> MessageStatus {
        self.0.status.into()
    }

    /// The environment of the key that sent it.
    async fn environment(&self) -> Environment {
        self.0.environment.into()
    }

    /// The recipient: a phone number in E.164, an e-mail address, or a chat id. Null once a
    /// person's data was erased.
    async fn to(&self) -> Option<&str> {
        (!self.0.is_erased()).then_some(&self.0.recipient)
    }

    /// What it comes from, as its sender was when it was accepted: a phone number in E.164, an
    /// e-mail address with its display name, or a bot's username. Null if it went out without a
    /// sender, also because its account had the number no more by then; the carrier then takes its
    /// own.
    async fn from(&self) -> Option<&str> {
        self.0.sent_from.as_deref()
    }

    /// The sender that it goes out by, as it is now; null if there is none, or it was deleted.
    async fn sender(&self, ctx: &Context<'_>) -> Result<Option<Sender>> {
        match self.0.sender_id {
            Some(id) => Ok(ctx.rows()?.load_one(SenderId(id)).await?.map(Sender)),
            None => Ok(None),
        }
    }

    /// The subject of an e-mail; null for other channels, and once a person's data was erased.
    async fn subject(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.0.subject.as_deref())
    }

    /// The text. Null if an e-mail has HTML alone, and once a person's data was erased.
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(Some(self.0.text.as_str()).filter(|text| !text.is_empty()))
    }

    /// The HTML of an e-mail; null if it has none, and once a person's data was erased.
    async fn html(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.answer(self.0.html.as_deref())
    }

    /// The contact that it was sent to; null if it was sent to an address as such, and once the
    /// contact was deleted. After a merge it is the contact that was kept.
    async fn contact(&self, ctx: &Context<'_>) -> Result<Option<Contact>> {
        let Some(id) = self.0.contact_id else {
            return Ok(None);
        };
        Ok(ctx.row(ContactId(id)).await?.map(Contact))
    }

    /// How many segments an SMS has; 1 for other channels.
    async fn segments(&self) -> i32 {
        self.0.segments
    }

    /// What was charged, in cents; 0 in the TEST environment. It stays when the message is
    /// refunded: see refundedAt.
    async fn cost(&self) -> Cents {
        stored(self.0.cost_micros).into()
    }

    /// When the cost was paid back; null if it was not.
    async fn refunded_at(&self) -> Option<DateTime> {
        self.0.refunded_at.map(DateTime)
    }

    /// Why it was not delivered, for programs; null otherwise.
    async fn error_code(&self) -> Option<&str> {
        self.0.error_code.as_deref()
    }

    /// Why it was not delivered, for people; null otherwise.
    async fn error_message(&self) -> Option<&str> {
        self.0.error_message.as_deref()
    }

    /// The key under which it was sent once; null if none was given.
    async fn idempotency_key(&self) -> Option<&str> {
        self.0.idempotency_key.as_deref()
    }

    /// Your own data about it.
    async fn metadata(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.metadata.as_deref(), ctx.reservation()?)?)
    }

    /// The moment before which it is not handed over, as given; null if it was to go out at once.
    async fn send_at(&self) -> Option<DateTime> {
        self.0.send_at.map(DateTime)
    }

    /// The moment from which on it is not handed over any more, but EXPIRED and refunded; null if
    /// there is none.
    async fn valid_until(&self) -> Option<DateTime> {
        self.0.valid_until.map(DateTime)
    }

    /// When it was accepted.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When its status last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}
