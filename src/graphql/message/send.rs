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

/// A message to be sent.
#[derive(InputObject)]
pub struct SendMessageInput {
    /// The recipient: a phone number in E.164 such as +12025550123, an e-mail address, or a
    /// Telegram chat id, by channel. Give this or contactId.
    to: Option<String>,
    /// The contact that it goes to, at its primary address of the channel. Give this or to.
    contact_id: Option<ID>,
    /// Left out: SMS for a phone number, EMAIL for an address; for a contact the first of SMS,
    /// EMAIL, WHATSAPP and TELEGRAM that it has an address of and the template, if there is one, a
    /// body for.
    channel: Option<Channel>,
    /// The text: at most 1,600 characters for SMS, 4,096 for WHATSAPP and TELEGRAM, 100 KiB for
    /// EMAIL. It can be left out of an e-mail that has HTML.
    text: Option<String>,
    /// The subject of an e-mail, one line of at most 998 characters. Optional; not allowed for other channels.
    subject: Option<String>,
    /// The HTML of an e-mail, at most 100 KiB, with a text beside it or without. Other channels
    /// have none.
    html: Option<String>,
    /// The template that says what it says, instead of a text, a subject and HTML. It is rendered
    /// now, and the message keeps what comes of it.
    template_id: Option<ID>,
    /// The template's variables by name, at most 16 KiB as JSON and 1,000 values at all levels. Each
    /// that has no default must be given; null counts as not given, and what the template does not declare is not looked at.
    /// Numbers with a fraction are doubles: what is to be shown exactly is given as text.
    variables: Option<JsonObject>,
    /// The sender that it goes out by, which must be able to send on the channel. Left out: the
    /// account's default sender, if there is one that can; otherwise it goes out without a sender.
    sender_id: Option<ID>,
    /// Your own data about it, at most 16 KiB as JSON and 1,000 values at all levels.
    metadata: Option<JsonObject>,
    /// When it is to go out: at most 30 days ahead, and at once if left out or past. It is charged
    /// now, and can be canceled until then.
    send_at: Option<DateTime>,
    /// Until when it may go out: after now and after sendAt. What was not handed over by then is
    /// EXPIRED and refunded. Left out: it waits for as long as it takes.
    valid_until: Option<DateTime>,
    /// 1 to 255 characters, yours to make, for each account and environment. A repeat with the same
    /// input answers with the first message and charges nothing, also when its contact or template
    /// has changed or is gone; with another input it is refused. Only an accepted message claims
    /// its key, and keeps it for as long as it is stored: a LIVE message for good, a TEST message for 7
    /// days after it was accepted or, if that is later, after its sendAt.
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

/// The answer to sendMessage.
#[derive(SimpleObject)]
pub struct SendMessagePayload {
    /// The accepted message; null if refused.
    message: Option<Message>,
    /// Why it was refused; empty if it was accepted.
    errors: Vec<UserError<SendRefusal>>,
    /// Whether the message was accepted before, under the same idempotencyKey. Nothing was charged
    /// now.
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
    /// Whether it would be accepted. A key that does not see the team's balance is not told here that the balance is
    /// lower than the cost, unless it is 0.
    would_be_accepted: bool,
    /// Why it would be refused; empty if it would be accepted.
    errors: Vec<UserError<SendRefusal>>,
}

#[derive(Default)]
pub struct MessageQuery;

#[Object]
impl MessageQuery {
    /// A dry run of sendMessage: what it would cost and whether it would be accepted now. Nothing
    /// is charged or stored.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn message_quote(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message as it would be sent.")] input: SendMessageInput,
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
    /// Sends a message: judged, charged and stored in one step, then delivered. The team's balance
    /// goes down and, for a sub-account, totalSpent up. Use an idempotencyKey to repeat it safely.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn send_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message.")] input: SendMessageInput,
    ) -> Result<Option<SendMessagePayload>> {
        let deadline = ctx.deadline()?;
        let app = ctx.app()?;
        let caller = ctx.account()?;
        let sending = domain::send(app, &caller, input.into(), deadline, ctx.reservation()?);
        let sent = ctx.field_permit()?.lend(deadline, sending).await?;
        note(app, &sent);
        Ok(Some(sent.into()))
    }

    /// Sends up to 100 messages, each with its own verdict, in order, as if they were sent one
    /// after another. Their texts, subjects, HTML and metadata have at most 2 MiB together, with
    /// what templates give.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn send_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The messages, at most 100.")] input: Vec<SendMessageInput>,
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

/// Counts an answer under the name that the API has for it.
fn note(app: &App, sent: &Sent) {
    match sent {
        Sent::Accepted(_) => app.metrics.note_message("ACCEPTED"),
        Sent::Replayed(_) => app.metrics.note_message("REPLAYED"),
        Sent::Refused(refusal) => app.metrics.note_message(refusal.code.into()),
    }
}
