//! Sending: check and normalise the input, find the price, and ask billing. A quote is the same path
//! with nothing stored, so it never disagrees with a send.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use entity::{api_key::Environment, message::Channel};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    Failure, Fault, Refusal, bad_input,
    billing::{self, Patience, PriceRefusal, PricedMessage, SendRefusal, Verdict},
    caller::AccountCaller,
    magic_recipient, recipient, refused,
    schedule::Schedule,
    segments::{self, SmsEncoding},
    sender_identity::{self, KnownSender},
    validate::{self, IDEMPOTENCY_KEY_RULE, METADATA_RULE},
};
use crate::{App, money::Micros};

/// Messages that one call sends at most.
pub const MESSAGES_PER_CALL_MAX: usize = 100;
/// Characters of an SMS at most.
pub const SMS_CHARS_MAX: usize = 1_600;
/// Characters of a WhatsApp or Telegram message at most: what both providers take.
pub const CHAT_CHARS_MAX: usize = 4_096;
/// Bytes of an e-mail's text at most.
pub const EMAIL_BYTES_MAX: usize = 100 * 1024;
/// Characters of an e-mail's subject at most (RFC 5322, section 2.1.1).
pub const SUBJECT_CHARS_MAX: usize = 998;

const TEXT: &[&str] = &["input", "text"];
const SUBJECT: &[&str] = &["input", "subject"];

/// A message as its sender gave it.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    pub to: String,
    pub channel: Option<Channel>,
    pub text: String,
    pub subject: Option<String>,
    /// The sender that it is to go out by; the account's default one if `None`.
    pub sender_id: Option<Uuid>,
    pub metadata: Option<Map<String, Value>>,
    pub schedule: Schedule,
    pub idempotency_key: Option<String>,
}

/// What a send would answer now.
#[derive(Debug)]
pub struct Quote {
    /// What would be charged; `None` where the input or the price does not say.
    pub cost: Option<Micros>,
    pub segments: Option<i32>,
    /// How an SMS would be written; `None` for other channels.
    pub encoding: Option<SmsEncoding>,
    pub refusal: Option<Refusal<SendRefusal>>,
}

/// Sends one message.
pub async fn send(
    app: &App,
    caller: &AccountCaller,
    message: NewMessage,
    patience: &Patience,
) -> Result<Verdict, Fault> {
    let senders = senders(app, caller, std::slice::from_ref(&message)).await?;
    match prepare(app, caller, &senders, message).await {
        Ok((message, _)) => billing::accept_one(app, caller, message, patience).await,
        Err(Failure::Refused(refusal)) => Ok(Verdict::Refused(refusal)),
        Err(Failure::Fault(fault)) => Err(fault),
    }
}

/// Sends each message in order, as if they came one after another, and gives a verdict for each.
pub async fn send_many(
    app: &App,
    caller: &AccountCaller,
    messages: Vec<NewMessage>,
    patience: &Patience,
) -> Result<Vec<Verdict>, Fault> {
    if messages.len() > MESSAGES_PER_CALL_MAX {
        return Err(bad_input("One call sends at most 100 messages; send the rest in another."));
    }
    let senders = senders(app, caller, &messages).await?;
    // Input that fails its checks keeps its place among the verdicts.
    let mut verdicts: Vec<Option<Verdict>> = Vec::with_capacity(messages.len());
    let mut priced = Vec::with_capacity(messages.len());
    for message in messages {
        match prepare(app, caller, &senders, message).await {
            Ok((message, _)) => {
                priced.push(message);
                verdicts.push(None);
            }
            Err(Failure::Refused(refusal)) => verdicts.push(Some(Verdict::Refused(refusal))),
            Err(Failure::Fault(fault)) => return Err(fault),
        }
    }
    let mut judged = billing::accept(app, caller, priced, patience).await?.into_iter();
    verdicts
        .into_iter()
        .map(|refused| refused.or_else(|| judged.next()))
        .collect::<Option<Vec<_>>>()
        .ok_or(Fault::Broken("billing answers every priced message"))
}

/// Says what a send would cost and whether it would be accepted; stores and charges nothing.
pub async fn quote(app: &App, caller: &AccountCaller, message: NewMessage) -> Result<Quote, Fault> {
    let senders = senders(app, caller, std::slice::from_ref(&message)).await?;
    let (priced, encoding) = match prepare(app, caller, &senders, message).await {
        Ok(prepared) => prepared,
        Err(Failure::Fault(fault)) => return Err(fault),
        Err(Failure::Refused(refusal)) => {
            let refusal = Some(refusal);
            return Ok(Quote { cost: None, segments: None, encoding: None, refusal });
        }
    };
    let (cost, refusal) = match billing::quote(app, caller, &priced).await? {
        Ok(cost) => (Some(cost), None),
        Err(refusal) => (priced.cost.ok(), Some(refusal)),
    };
    Ok(Quote { cost, segments: Some(priced.segments), encoding, refusal })
}

/// The senders that the messages of a call may go out by, for all of them together.
async fn senders(
    app: &App,
    caller: &AccountCaller,
    messages: &[NewMessage],
) -> Result<Arc<Vec<KnownSender>>, Fault> {
    let named: Vec<Uuid> = messages.iter().filter_map(|message| message.sender_id).collect();
    app.senders.of_account(&app.db, caller.account_id, &named).await
}

/// Checks and normalises the input and finds what the message costs and as whom it goes out.
async fn prepare(
    app: &App,
    caller: &AccountCaller,
    senders: &[KnownSender],
    message: NewMessage,
) -> Result<(PricedMessage, Option<SmsEncoding>), Failure<SendRefusal>> {
    let recipient = recipient::parse(&message.to, message.channel)
        .map_err(|rule| refused(SendRefusal::InvalidRecipient, &["input", "to"], rule))?;
    check_content(recipient.channel, &message)?;
    let metadata = match message.metadata {
        None => None,
        Some(metadata) => Some(validate::metadata(metadata).ok_or_else(|| {
            refused(SendRefusal::MetadataInvalid, &["input", "metadata"], METADATA_RULE)
        })?),
    };
    let idempotency_key = match message.idempotency_key {
        None => None,
        Some(key) => Some(validate::idempotency_key(&key).ok_or_else(|| {
            let field = &["input", "idempotencyKey"];
            refused(SendRefusal::IdempotencyKeyInvalid, field, IDEMPOTENCY_KEY_RULE)
        })?),
    };
    message.schedule.check(app.clock.now())?;

    let (encoding, segments) = match recipient.channel {
        Channel::Sms => {
            let (encoding, segments) = segments::count(&message.text);
            (Some(encoding), segments)
        }
        _ => (None, 1),
    };
    let is_live = caller.environment == Environment::Live;
    let cost = if is_live && !app.carriers.has(recipient.channel) {
        Err(PriceRefusal::ChannelUnavailable)
    } else {
        match app.prices.find(&app.db, &recipient).await? {
            None => Err(PriceRefusal::NoPrice),
            Some(_) if !is_live => Ok(Micros::ZERO),
            Some(unit) => unit.checked_mul(segments).ok_or(PriceRefusal::NoPrice),
        }
    };
    let input_hash = hash(
        &recipient,
        &message.text,
        message.subject.as_deref(),
        metadata.as_deref(),
        message.schedule,
        message.sender_id,
    );
    let origin = sender_identity::choose(senders, message.sender_id, recipient.channel);
    let simulated = magic_recipient::simulated_refusal(&recipient.address).filter(|_| !is_live);
    let priced = PricedMessage {
        recipient,
        subject: message.subject,
        text: message.text,
        segments,
        metadata,
        schedule: message.schedule,
        idempotency_key,
        input_hash,
        origin,
        cost,
        simulated,
    };
    Ok((priced, encoding))
}

fn check_content(channel: Channel, message: &NewMessage) -> Result<(), Failure<SendRefusal>> {
    let text = &message.text;
    if text.trim().is_empty() {
        return Err(refused(SendRefusal::InvalidContent, TEXT, "The text must not be empty."));
    }
    let is_too_long = match channel {
        Channel::Sms => text.chars().count() > SMS_CHARS_MAX,
        Channel::Whatsapp | Channel::Telegram => text.chars().count() > CHAT_CHARS_MAX,
        Channel::Email => text.len() > EMAIL_BYTES_MAX,
    };
    if is_too_long {
        let rule = match channel {
            Channel::Sms => "The text of an SMS must have at most 1600 characters.",
            Channel::Whatsapp | Channel::Telegram => "The text must have at most 4096 characters.",
            Channel::Email => "The text of an e-mail must have at most 100 KiB.",
        };
        return Err(refused(SendRefusal::InvalidContent, TEXT, rule));
    }
    if text.contains('\0') {
        return Err(refused(SendRefusal::InvalidContent, TEXT, "The text must not hold NUL."));
    }
    if let Some(subject) = &message.subject {
        let rule = "Only an e-mail has a subject: one line of at most 998 characters.";
        let is_line =
            subject.chars().count() <= SUBJECT_CHARS_MAX && !subject.chars().any(char::is_control);
        if channel != Channel::Email || !is_line {
            return Err(refused(SendRefusal::InvalidContent, SUBJECT, rule));
        }
    }
    Ok(())
}

/// What two sends under one idempotency key must share to be the same message. What came later than
/// the first parts is added only where it is given, so that the hashes of earlier messages hold.
fn hash(
    recipient: &recipient::Recipient,
    text: &str,
    subject: Option<&str>,
    metadata: Option<&str>,
    schedule: Schedule,
    sender_id: Option<Uuid>,
) -> Vec<u8> {
    use sea_orm::ActiveEnum as _;
    let channel = recipient.channel.to_value();
    let mut input = vec![json!(channel), json!(recipient.address), json!(text)];
    input.extend([json!(subject), json!(metadata)]);
    if schedule != Schedule::default() {
        let millis = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_millis());
        let (send_at, valid_until) = (millis(schedule.send_at), millis(schedule.valid_until));
        input.push(json!({ "sendAt": send_at, "validUntil": valid_until }));
    }
    if let Some(sender_id) = sender_id {
        input.push(json!({ "senderId": sender_id }));
    }
    let input = Value::from(input);
    Sha256::digest(input.to_string().as_bytes()).to_vec()
}
