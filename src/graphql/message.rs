//! Messages: what they are, and how they are sent and quoted.

use async_graphql::{
    Context, Enum, ID, InputObject, Object, Result, SimpleObject, Value, resolver_utils::enum_value,
};
use entity::message as rows;

use super::{
    access::{self, Ask, Needs},
    errors::UserError,
    scalars::{Cents, DateTime, JsonObject},
    viewer::Environment,
};
use crate::{
    App,
    domain::{
        account::stored,
        billing::{Patience, SendRefusal, Verdict},
        message as domain,
        schedule::Schedule,
    },
};

/// The way a message travels.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::Channel")]
pub enum Channel {
    /// A text message to a phone, priced by segment.
    Sms,
    /// An e-mail.
    Email,
    /// A WhatsApp message to a phone number.
    Whatsapp,
    /// A Telegram message to a chat id.
    Telegram,
}

/// Where a message is on its way.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "rows::MessageStatus")]
pub enum MessageStatus {
    /// Accepted and charged; waits for its sendAt or for the end of the account's quiet hours.
    Scheduled,
    /// Accepted and charged; waits to be handed over.
    Queued,
    /// Being handed over to the carrier.
    Sending,
    /// The carrier took it.
    Sent,
    /// It arrived.
    Delivered,
    /// The carrier took it and could not deliver it. It stays charged.
    Undelivered,
    /// The carrier refused it. It was refunded.
    Failed,
    /// Its validUntil passed before it was handed over. It was refunded.
    Expired,
    /// It was canceled before it was handed over, and refunded.
    Canceled,
    /// The carrier gave no answer: it may have gone out. It stays charged and is not sent again.
    Unknown,
}

/// How an SMS is written on the air.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "crate::domain::segments::SmsEncoding")]
pub enum SmsEncoding {
    /// The GSM 7-bit alphabet: 160 characters in one segment, 153 in each of several.
    #[graphql(name = "GSM7")]
    Gsm7,
    /// UTF-16, for every other character: 70 units in one segment, 67 in each of several.
    #[graphql(name = "UCS2")]
    Ucs2,
}

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

    /// The subject of an e-mail; null for other channels, and once a person's data was erased.
    async fn subject(&self) -> Option<&str> {
        self.0.subject.as_deref()
    }

    /// The text. Null once a person's data was erased.
    async fn text(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        ctx.room()?.take(self.0.text.len())?;
        Ok((!self.0.is_erased()).then_some(self.0.text.as_str()))
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
        Ok(JsonObject::from_column(self.0.metadata.as_deref(), ctx.room()?)?)
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

/// A message to be sent.
#[derive(InputObject)]
pub struct SendMessageInput {
    /// The recipient: a phone number in E.164 such as +12025550123, an e-mail address, or a
    /// Telegram chat id, by channel.
    to: String,
    /// Left out: SMS for a phone number, EMAIL for an address.
    channel: Option<Channel>,
    /// The text: at most 1,600 characters for SMS, 4,096 for WHATSAPP and TELEGRAM, 100 KiB for
    /// EMAIL.
    text: Option<String>,
    /// The subject of an e-mail, one line of at most 998 characters. Other channels have none.
    subject: Option<String>,
    /// Your own data about it, at most 16 KiB as JSON.
    metadata: Option<JsonObject>,
    /// When it is to go out: at most 30 days ahead, and at once if left out or past. It is charged
    /// now, and can be canceled until then.
    send_at: Option<DateTime>,
    /// Until when it may go out: after now and after sendAt. What was not handed over by then is
    /// EXPIRED and refunded. Left out: it waits for as long as it takes.
    valid_until: Option<DateTime>,
    /// 1 to 255 characters, yours to make, for each account and environment. A repeat with the same
    /// input answers with the first message and charges nothing; with another input it is refused.
    /// Only an accepted message claims its key.
    idempotency_key: Option<String>,
}

impl From<SendMessageInput> for domain::NewMessage {
    fn from(input: SendMessageInput) -> Self {
        Self {
            to: input.to,
            channel: input.channel.map(Into::into),
            text: input.text.unwrap_or_default(),
            subject: input.subject,
            metadata: input.metadata.map(|metadata| metadata.0),
            schedule: Schedule {
                send_at: input.send_at.map(|moment| moment.0),
                valid_until: input.valid_until.map(|moment| moment.0),
            },
            idempotency_key: input.idempotency_key,
        }
    }
}

/// Why a message was refused: the first reason in the order of these values. Nothing was charged.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "SendRefusal")]
pub enum SendMessageErrorCode {
    /// The recipient is not one of the channel.
    InvalidRecipient,
    /// The text or the subject is missing, too long, or not of the channel.
    InvalidContent,
    /// The metadata is larger than 16 KiB as JSON.
    MetadataInvalid,
    /// The idempotencyKey is empty, longer than 255 characters, or has control characters.
    IdempotencyKeyInvalid,
    /// The sendAt lies more than 30 days ahead.
    SendAtInvalid,
    /// Another message was accepted under this idempotencyKey.
    IdempotencyConflict,
    /// The validUntil does not lie after now and after sendAt.
    ValidUntilInvalid,
    /// The account is SUSPENDED.
    AccountSuspended,
    /// The account is INACTIVE.
    AccountInactive,
    /// The recipient has opted out of the account's messages on this channel.
    OptedOut,
    /// This server has no carrier for the channel.
    ChannelUnavailable,
    /// There is no price for the destination.
    NoPrice,
    /// The account's totalSpent has reached its creditLimit.
    CreditLimitReached,
    /// The team's balance is lower than the message's cost.
    InsufficientBalance,
    /// The server is too busy to take all messages of one sendMessages; none was judged. Try again
    /// in a second, with the same idempotency keys.
    Overloaded,
}

/// The answer to sendMessage.
#[derive(SimpleObject)]
pub struct SendMessagePayload {
    /// The accepted message; null if refused.
    message: Option<Message>,
    /// Why it was refused; empty if it was accepted.
    errors: Vec<UserError<SendMessageErrorCode>>,
    /// Whether the message was accepted before, under the same idempotencyKey. Nothing was charged
    /// now.
    replayed: bool,
}

impl From<Verdict> for SendMessagePayload {
    fn from(verdict: Verdict) -> Self {
        let (message, errors, replayed) = match verdict {
            Verdict::Accepted(message) => (Some(Message(message)), vec![], false),
            Verdict::Replayed(message) => (Some(Message(message)), vec![], true),
            Verdict::Refused(refusal) => (None, vec![UserError::new(refusal)], false),
        };
        Self { message, errors, replayed }
    }
}

/// What a send would answer now. Nothing was charged or stored.
#[derive(SimpleObject)]
pub struct MessageQuote {
    /// What would be charged, in cents; 0 in the TEST environment and for a repeat. Null where the
    /// input is invalid or there is no price.
    cost: Option<Cents>,
    /// How many segments an SMS would have; 1 for other channels. Null where the input is invalid.
    segments: Option<i32>,
    /// How an SMS would be written; null for other channels and where the input is invalid.
    encoding: Option<SmsEncoding>,
    /// Whether it would be accepted.
    would_be_accepted: bool,
    /// Why it would be refused; empty if it would be accepted.
    errors: Vec<UserError<SendMessageErrorCode>>,
}

#[derive(Default)]
pub struct MessageQuery;

#[Object]
impl MessageQuery {
    /// A dry run of sendMessage: what it would cost and whether it would be accepted now. Nothing
    /// is charged or stored.
    #[graphql(guard = "Needs::Account", visible = "access::account")]
    async fn message_quote(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message as it would be sent.")] input: SendMessageInput,
    ) -> Result<MessageQuote> {
        let quote = domain::quote(ctx.app()?, &ctx.account()?, input.into()).await?;
        Ok(MessageQuote {
            cost: quote.cost.map(Cents::from),
            segments: quote.segments,
            encoding: quote.encoding.map(SmsEncoding::from),
            would_be_accepted: quote.refusal.is_none(),
            errors: quote.refusal.into_iter().map(UserError::new).collect(),
        })
    }
}

#[derive(Default)]
pub struct MessageMutation;

#[Object]
impl MessageMutation {
    /// Sends a message: judged, charged and stored in one step, then delivered. The team's balance
    /// goes down and, for a sub-account, totalSpent up. Use an idempotencyKey to repeat it safely.
    #[graphql(guard = "Needs::Account", visible = "access::account")]
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message.")] input: SendMessageInput,
    ) -> Result<Option<SendMessagePayload>> {
        let patience = ctx.data::<Patience>()?;
        let app = ctx.app()?;
        let verdict = domain::send(app, &ctx.account()?, input.into(), patience).await?;
        note(app, &verdict);
        Ok(Some(verdict.into()))
    }

    /// Sends up to 100 messages, each with its own verdict, in order, as if they were sent one
    /// after another.
    #[graphql(guard = "Needs::Account", visible = "access::account")]
    async fn send_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The messages, at most 100.")] input: Vec<SendMessageInput>,
    ) -> Result<Option<Vec<SendMessagePayload>>> {
        let messages = input.into_iter().map(Into::into).collect();
        let patience = ctx.data::<Patience>()?;
        let (app, caller) = (ctx.app()?, ctx.account()?);
        let verdicts = domain::send_many(app, &caller, messages, patience).await?;
        for verdict in &verdicts {
            note(app, verdict);
        }
        Ok(Some(verdicts.into_iter().map(Into::into).collect()))
    }
}

/// Counts a verdict under the name that the API has for it.
fn note(app: &App, verdict: &Verdict) {
    match verdict {
        Verdict::Accepted(_) => app.metrics.note_message("ACCEPTED"),
        Verdict::Replayed(_) => app.metrics.note_message("REPLAYED"),
        Verdict::Refused(refusal) => {
            if let Value::Enum(code) = enum_value(SendMessageErrorCode::from(refusal.code)) {
                app.metrics.note_message(&code);
            }
        }
    }
}
