//! Sending and quoting messages.

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};

use super::Message;
use crate::{
    app::App,
    domain::{
        channel::{schedule::Schedule, send_refusal::SendRefusal},
        message::{self as domain, Sent},
    },
    graphql::{
        access::{self, ContextExt, RoleGuard},
        enums::{Channel, SmsEncoding},
        errors::UserError,
        input::{all, parse_id},
        scalars::{Cents, DateTime, JsonObject},
    },
};

/// Message to send.
#[derive(InputObject)]
pub struct SendMessageInput {
    /// Recipient, depending on the channel: a phone number in E.164 format such as +12025550123, an
    /// e-mail address, or a Telegram chat id. Exactly one of the fields to and contactId must be
    /// set.
    to: Option<String>,
    /// Id of the contact to send to. Its primary address on the channel is used. Exactly one of the
    /// fields to and contactId must be set.
    contact_id: Option<ID>,
    /// Channel of the message. If omitted, it is SMS for a phone number and EMAIL for an e-mail
    /// address. For a contact, it is the first of SMS, EMAIL, WHATSAPP and TELEGRAM for which the
    /// contact has an address and the template, if one is used, has a body.
    channel: Option<Channel>,
    /// Text of the message. Maximum 1,600 characters for SMS, 4,096 for WHATSAPP and TELEGRAM, and
    /// 100 KiB for EMAIL. It can be omitted for an e-mail that has HTML.
    text: Option<String>,
    /// Subject of an e-mail, in one line (maximum 998 characters). It is optional, and not allowed
    /// for other channels.
    subject: Option<String>,
    /// HTML of an e-mail (maximum 100 KiB), with or without text. It is not allowed for other
    /// channels.
    html: Option<String>,
    /// Id of the template to use instead of text, subject and html. The template is rendered
    /// immediately, and the message keeps the result.
    template_id: Option<ID>,
    /// Values of the template's variables by name (maximum 16 KiB as JSON, 1,000 values and 32
    /// levels of nesting). Variables without a default must be set; null counts as not set.
    /// Variables that the template does not declare are ignored. Numbers with a fraction are
    /// handled as double-precision numbers, so pass a string if a number must be shown exactly.
    variables: Option<JsonObject>,
    /// Id of the sender, which must be able to send on the channel. If omitted, the account's
    /// default sender is used if it can send on the channel; otherwise the message has no sender.
    sender_id: Option<ID>,
    /// Your own data about the message (maximum 16 KiB as JSON, 1,000 values and 32 levels of
    /// nesting).
    metadata: Option<JsonObject>,
    /// When to send the message (maximum 30 days ahead). If omitted or in the past, it is sent
    /// immediately. A scheduled message is charged when it is accepted, and can be canceled until
    /// it is due.
    send_at: Option<DateTime>,
    /// When the message expires, which must be in the future and after sendAt. If it has not been
    /// submitted to the carrier by then, it becomes EXPIRED and is refunded. If omitted, it does
    /// not expire.
    valid_until: Option<DateTime>,
    /// Key of your choice (1 to 255 characters), unique per account and environment. A repeat with
    /// the same input returns the first message and charges nothing, even if its contact or
    /// template has since changed or been deleted. A repeat with a different input is refused. Only
    /// an accepted message uses up its key. The key remains in use while the message is stored:
    /// permanently for LIVE messages, and for TEST messages until 7 days after the message was
    /// accepted or after its sendAt, whichever is later.
    idempotency_key: Option<String>,
}

impl From<SendMessageInput> for domain::NewMessage {
    fn from(input: SendMessageInput) -> Self {
        Self {
            to: input.to,
            contact_id: input.contact_id.map(|id| parse_id(&id).unwrap_or_default()),
            channel: input.channel.map(|channel| channel.0),
            text: input.text,
            subject: input.subject,
            html: input.html,
            template_id: input.template_id.map(|id| parse_id(&id).unwrap_or_default()),
            variables: input.variables.map(|variables| variables.0),
            sender_id: input.sender_id.map(|id| parse_id(&id).unwrap_or_default()),
            metadata: input.metadata.map(|metadata| metadata.0),
            schedule: Schedule {
                send_at: input.send_at.map(|moment| moment.0),
                valid_until: input.valid_until.map(|moment| moment.0),
            },
            idempotency_key: input.idempotency_key,
        }
    }
}

/// Result of sendMessage.
#[derive(SimpleObject)]
pub struct SendMessagePayload {
    /// The accepted message; null if the mutation was refused.
    message: Option<Message>,
    /// Reasons why the mutation was refused; empty if it succeeded.
    errors: Vec<UserError<SendRefusal>>,
    /// Whether the message had already been accepted with the same idempotencyKey, so this call
    /// charged nothing.
    replayed: bool,
}

impl From<Sent> for SendMessagePayload {
    fn from(sent: Sent) -> Self {
        let (message, errors, replayed) = match sent {
            Sent::Accepted(message) => (Some(Message(message)), vec![], false),
            Sent::Replayed(message) => (Some(Message(message)), vec![], true),
            Sent::Refused(refusal) => (None, vec![UserError::new(refusal)], false),
        };
        Self { message, errors, replayed }
    }
}

/// Result that sendMessage would return now. Nothing is charged or stored.
#[derive(SimpleObject)]
pub struct MessageQuote {
    /// Amount that would be charged, in cents. It is 0 in the TEST environment and for a repeat
    /// with the same idempotencyKey. Null if the input is not valid or there is no price.
    cost: Option<Cents>,
    /// Number of segments of the SMS; 1 for other channels. Null if the input is not valid.
    segments: Option<i32>,
    /// Encoding of an SMS. Null for other channels, or if the input is not valid.
    encoding: Option<SmsEncoding>,
    /// Whether the message would be accepted. If your key cannot read the team's balance, only a
    /// balance of 0 counts as insufficient, not a balance that is lower than the cost.
    would_be_accepted: bool,
    /// Reasons why the message would be refused; empty if it would be accepted.
    errors: Vec<UserError<SendRefusal>>,
}

#[derive(Default)]
pub struct MessageQuery;

#[Object]
impl MessageQuery {
    /// Checks, without sending it, whether a message would be accepted now and what it would cost.
    /// Nothing is charged or stored. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn message_quote(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Message to check.")] input: SendMessageInput,
    ) -> Result<MessageQuote> {
        let (app, caller) = (ctx.app()?, ctx.account()?);
        let quote = domain::quote(app, &caller, input.into(), ctx.deadline()?).await?;
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
    /// Sends a message. It is checked, charged and stored in one step and then delivered. The
    /// charge lowers the team's balance and, for a sub-account, increases totalSpent. Use an
    /// idempotencyKey so that the call can be repeated safely. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Message to send.")] input: SendMessageInput,
    ) -> Result<Option<SendMessagePayload>> {
        let deadline = ctx.deadline()?;
        let app = ctx.app()?;
        let caller = ctx.account()?;
        let sending = domain::send(app, &caller, input.into(), deadline, ctx.reservation()?);
        let sent = ctx.field_permit()?.lend(deadline, sending).await?;
        note(app, &sent);
        Ok(Some(sent.into()))
    }

    /// Sends up to 100 messages and returns one payload for each, in the order of the input, as if
    /// they were sent one after another. Their text, subjects, HTML and metadata, including the
    /// results of templates, can be up to 2 MiB in total. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn send_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Messages to send (maximum 100).")] input: Vec<SendMessageInput>,
    ) -> Result<Option<Vec<SendMessagePayload>>> {
        let deadline = ctx.deadline()?;
        let (app, caller) = (ctx.app()?, ctx.account()?);
        let sending = domain::send_many(app, &caller, all(input), deadline, ctx.reservation()?);
        let sent = ctx.field_permit()?.lend(deadline, sending).await?;
        for sent in &sent {
            note(app, sent);
        }
        Ok(Some(all(sent)))
    }
}

/// Counts the result in the metrics, under the name that it has in the API.
fn note(app: &App, sent: &Sent) {
    match sent {
        Sent::Accepted(_) => app.metrics.note_message("ACCEPTED"),
        Sent::Replayed(_) => app.metrics.note_message("REPLAYED"),
        Sent::Refused(refusal) => app.metrics.note_message(refusal.code.into()),
    }
}
