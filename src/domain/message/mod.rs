//! Sending: check and normalise the input, find the price, and ask billing. A quote is the same
//! path with nothing stored, so it never disagrees with a send, but for a hidden balance (`billing::quote`).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::{
    api_key::Environment,
    message::{self},
};
use sea_orm::ActiveEnum as _;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    Failure, Fault, Refusal, Unavailable, bad_input,
    billing::{self, Draft, PriceRefusal, PricedMessage, Verdict},
    caller::AccountCaller,
    channel::{
        schedule::Schedule,
        segments::{self, SmsEncoding},
        send_refusal::SendRefusal,
        sender_cache::Origin,
    },
    deadline::Deadline,
    refused, sender,
    validate::{self, IDEMPOTENCY_KEY_RULE, METADATA_RULE},
    write_rate::CallBytes,
};
use crate::{
    app::App,
    carrier::test_recipients::{TestRecipient, magic},
    limits::memory_budget::Reservation,
    money::Micros,
};
use source::{Destination, Resolved, Source};

pub mod backlog;
pub mod cancel;
pub mod delivery;
pub mod input;
pub mod list;
pub mod quiet_hours;
pub mod source;
pub mod test_retention;

pub use input::NewMessage;

/// Messages that one call sends at most.
pub const MESSAGES_PER_CALL_MAX: usize = 100;

/// A message whose input passed its checks, but for where it goes and what it says.
struct Checked {
    sender_id: Option<Uuid>,
    metadata: Option<String>,
    schedule: Schedule,
    idempotency_key: Option<String>,
    input_hash: Vec<u8>,
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

/// The answer to one message.
#[derive(Debug)]
pub enum Sent {
    /// Charged, stored, and due for delivery.
    Accepted(message::Model),
    /// Accepted earlier under the same idempotency key; nothing was charged now.
    Replayed(message::Model),
    Refused(Refusal<SendRefusal>),
}

/// Sends one message. What is read for the answer is taken from `reservation`.
pub async fn send(
    app: &App,
    caller: &AccountCaller,
    message: NewMessage,
    deadline: &Deadline,
    reservation: &Reservation,
) -> Result<Sent, Fault> {
    let words = CallBytes::charged_to(app, caller);
    let verdict = match prepare_one(app, caller, message, words, deadline).await? {
        Ok(message) => billing::accept_one(app, caller, message, deadline).await?,
        Err(refusal) => Verdict::Refused(refusal),
    };
    let mut sent = answered(app, caller, vec![verdict], reservation).await?;
    sent.pop().ok_or(Fault::Broken("a verdict is answered"))
}

/// Sends each message in order, as if they came one after another, and answers each. What is read for the answers
/// is taken from `reservation`.
pub async fn send_many(
    app: &App,
    caller: &AccountCaller,
    messages: Vec<NewMessage>,
    deadline: &Deadline,
    reservation: &Reservation,
) -> Result<Vec<Sent>, Fault> {
    if messages.len() > MESSAGES_PER_CALL_MAX {
        return Err(bad_input("One call sends at most 100 messages; send the rest in another."));
    }
    // Input that fails its checks keeps its place among the verdicts.
    let mut verdicts: Vec<Option<Verdict>> = Vec::with_capacity(messages.len());
    let mut priced = Vec::with_capacity(messages.len());
    let words = CallBytes::charged_to(app, caller);
    for message in prepare(app, caller, messages, words, deadline).await? {
        match message {
            Ok(message) => {
                priced.push(message);
                verdicts.push(None);
            }
            Err(refusal) => verdicts.push(Some(Verdict::Refused(refusal))),
        }
    }
    let mut judged = billing::accept(app, caller, priced, deadline).await?.into_iter();
    let verdicts = verdicts
        .into_iter()
        .map(|refused| refused.or_else(|| judged.next()))
        .collect::<Option<Vec<_>>>()
        .ok_or(Fault::Broken("billing answers every priced message"))?;
    answered(app, caller, verdicts, reservation).await
}

/// Answers verdicts with the messages that were repeated. What the call was charged for is answered whatever becomes of
/// these: a caller that is not told would send it again.
async fn answered(
    app: &App,
    caller: &AccountCaller,
    verdicts: Vec<Verdict>,
    reservation: &Reservation,
) -> Result<Vec<Sent>, Fault> {
    let is_charged = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Accepted(_)));
    let found = match repeated(app, caller, &verdicts, reservation).await {
        Ok(found) => found,
        Err(fault) if is_charged => {
            tracing::warn!(%fault, "Repeated messages could not be read for the answer to a send");
            HashMap::new()
        }
        Err(fault) => return Err(fault),
    };
    let answers = verdicts.into_iter().map(|verdict| match verdict {
        Verdict::Accepted(message) => Ok(Sent::Accepted(message)),
        Verdict::Refused(refusal) => Ok(Sent::Refused(refusal)),
        Verdict::Replayed(id) => match found.get(&id) {
            Some(message) => Ok(Sent::Replayed(message.clone())),
            None if is_charged => Ok(Sent::Refused(unread())),
            // A TEST message whose time was over at this moment: the next try is a new message.
            None => Err(Unavailable::OutcomeUnknown.into()),
        },
    });
    answers.collect()
}

/// The answer to a repeat beside messages that were accepted now, where the repeated message cannot be read.
fn unread() -> Refusal<SendRefusal> {
    let message = "Nothing was charged for this message: it was accepted before under its idempotencyKey, and cannot \
                   be read now. Send it again with the same key, without the other messages of this call.";
    Refusal { code: SendRefusal::Overloaded, message: message.into(), field: &[] }
}

/// Reads the messages that were repeated: not under the lock that every sender waits for, and as far as there is
/// room for their words, for a small message may repeat a large one.
async fn repeated(
    app: &App,
    caller: &AccountCaller,
    verdicts: &[Verdict],
    reservation: &Reservation,
) -> Result<HashMap<Uuid, message::Model>, Fault> {
    let replayed = verdicts.iter().filter_map(|verdict| match verdict {
        Verdict::Replayed(id) => Some(*id),
        _ => None,
    });
    let replayed: Vec<Uuid> = replayed.collect();
    if replayed.is_empty() {
        return Ok(HashMap::new());
    }
    let found = list::find_many(app, caller, &replayed, reservation).await?;
    for message in found.values() {
        let copies = replayed.iter().filter(|id| **id == message.id).count() - 1;
        reservation.take(copies * list::text_bytes(message))?;
    }
    Ok(found)
}

/// Says what a send would cost and whether it would be accepted; stores and charges nothing.
pub async fn quote(
    app: &App,
    caller: &AccountCaller,
    message: NewMessage,
    deadline: &Deadline,
) -> Result<Quote, Fault> {
    let priced = match prepare_one(app, caller, message, CallBytes::uncharged(), deadline).await? {
        Ok(priced) => priced,
        Err(refusal) => {
            let refusal = Some(refusal);
            return Ok(Quote { cost: None, segments: None, encoding: None, refusal });
        }
    };
    let draft = priced.draft.as_ref().ok();
    let (cost, refusal) = match billing::quote(app, caller, &priced).await? {
        Ok(cost) => (Some(cost), None),
        Err(refusal) => (draft.and_then(|draft| draft.cost.ok()), Some(refusal)),
    };
    let counted = draft.map(|draft| segments::of(draft.recipient.channel, &draft.content.text));
    Ok(Quote {
        cost,
        segments: counted.map(|(_, segments)| segments),
        encoding: counted.and_then(|(encoding, _)| encoding),
        refusal,
    })
}

/// Checks and normalises the input of messages, finds what they refer to, what each costs, and as
/// whom it goes out. A refusal here is one of its input alone; what its contact, its template or
/// its sender stands against is judged later.
async fn prepare(
    app: &App,
    caller: &AccountCaller,
    messages: Vec<NewMessage>,
    mut words: CallBytes,
    deadline: &Deadline,
) -> Result<Vec<Result<PricedMessage, Refusal<SendRefusal>>>, Fault> {
    let now = app.clock.now();
    let mut checked = Vec::with_capacity(messages.len());
    let mut wanted = Vec::with_capacity(messages.len());
    for message in messages {
        match check(message, now) {
            Ok((message, destination, source)) => {
                words.add(message.metadata.as_ref().map_or(0, String::len))?;
                if let Source::Words(content) = &source {
                    words.add(content.bytes())?;
                }
                checked.push(Ok(message));
                wanted.push((destination, source));
            }
            Err(Failure::Refused(refusal)) => checked.push(Err(refusal)),
            Err(Failure::Fault(fault)) => return Err(fault),
        }
    }
    // Before the database is waited for: what is refused holds no memory meanwhile.
    words.charge()?;
    let named: Vec<Uuid> =
        checked.iter().flatten().filter_map(|message: &Checked| message.sender_id).collect();
    let readers = app.read_as(caller);
    let senders = app.senders.of_account(&readers, caller.account_id, &named).await?;
    let (resolved, mut words) = source::resolve(app, caller, wanted, words, deadline).await?;
    words.charge()?;
    let mut resolved = resolved.into_iter();
    let mut prepared = Vec::with_capacity(checked.len());
    for message in checked {
        let Checked { sender_id, metadata, schedule, idempotency_key, input_hash } = match message {
            Ok(message) => message,
            Err(refusal) => {
                prepared.push(Err(refusal));
                continue;
            }
        };
        let resolved = resolved.next().ok_or(Fault::Broken("every checked message is resolved"))?;
        let sent = resolved.and_then(|resolved| {
            let channel = resolved.recipient.channel;
            let origin = sender::identity::choose(&senders, sender_id, channel)?;
            Ok((resolved, origin))
        });
        let draft = match sent {
            Ok((resolved, origin)) => Ok(price(app, caller, resolved, origin).await?),
            Err(refusal) => Err(refusal),
        };
        let priced = PricedMessage { draft, metadata, schedule, idempotency_key, input_hash };
        prepared.push(Ok(priced));
    }
    Ok(prepared)
}

async fn prepare_one(
    app: &App,
    caller: &AccountCaller,
    message: NewMessage,
    words: CallBytes,
    deadline: &Deadline,
) -> Result<Result<PricedMessage, Refusal<SendRefusal>>, Fault> {
    let mut prepared = prepare(app, caller, vec![message], words, deadline).await?;
    prepared.pop().ok_or(Fault::Broken("a message that is prepared is there"))
}

/// Checks and normalises all that can be judged by the input alone.
fn check(
    mut message: NewMessage,
    now: DateTime<Utc>,
) -> Result<(Checked, Destination, Source), Failure<SendRefusal>> {
    let destination = source::destination(&message)?;
    let source = source::source(&mut message, &destination)?;
    let metadata = match message.metadata {
        None => None,
        Some(metadata) => Some(validate::metadata(&metadata).ok_or_else(|| {
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
    let schedule = message.schedule;
    schedule.check(now)?;
    let sender_id = message.sender_id;
    let input_hash = hash(&destination, &source, sender_id, metadata.as_deref(), schedule);
    let checked = Checked { sender_id, metadata, schedule, idempotency_key, input_hash };
    Ok((checked, destination, source))
}

/// What a message costs whose recipient and words are known.
async fn price(
    app: &App,
    caller: &AccountCaller,
    resolved: Resolved,
    origin: Option<Origin>,
) -> Result<Draft, Fault> {
    let Resolved { recipient, contact_id, content } = resolved;
    let (_, segments) = segments::of(recipient.channel, &content.text);
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
    let simulated = (!is_live).then(|| simulated_refusal(&recipient.address)).flatten();
    Ok(Draft { recipient, contact_id, content, origin, segments, cost, simulated })
}

/// The money refusal that a TEST message to this recipient simulates.
fn simulated_refusal(recipient: &str) -> Option<SendRefusal> {
    match magic(recipient)? {
        TestRecipient::CreditLimit => Some(SendRefusal::CreditLimitReached),
        TestRecipient::Balance => Some(SendRefusal::InsufficientBalance),
        TestRecipient::Fail | TestRecipient::Undelivered | TestRecipient::Unknown => None,
    }
}

/// What two sends under one idempotency key must share to be the same message: the input, not what
/// a contact, a template or a default sender made of it. What came later than the first parts is
/// added only where it is given, so that the hashes of earlier messages hold.
fn hash(
    destination: &Destination,
    source: &Source,
    sender_id: Option<Uuid>,
    metadata: Option<&str>,
    schedule: Schedule,
) -> Vec<u8> {
    let mut later = Map::new();
    let (channel, address) = match destination {
        Destination::Address(recipient) => (Some(recipient.channel), Some(&recipient.address)),
        Destination::Contact { id, channel } => {
            later.insert("contactId".to_owned(), json!(id));
            (*channel, None)
        }
    };
    let channel = channel.map(|channel| channel.to_value());
    let (text, subject) = match source {
        Source::Words(content) => {
            if let Some(html) = &content.html {
                later.insert("html".to_owned(), json!(html));
            }
            (Some(&content.text), content.subject.as_ref())
        }
        Source::Template { id, variables } => {
            later.insert("templateId".to_owned(), json!(id));
            later.insert("variables".to_owned(), json!(variables));
            (None, None)
        }
    };
    if let Some(sender_id) = sender_id {
        later.insert("senderId".to_owned(), json!(sender_id));
    }
    let mut input = vec![json!(channel), json!(address), json!(text), json!(subject)];
    input.push(json!(metadata));
    if schedule != Schedule::default() {
        let millis = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_millis());
        let (send_at, valid_until) = (millis(schedule.send_at), millis(schedule.valid_until));
        input.push(json!({ "sendAt": send_at, "validUntil": valid_until }));
    }
    if !later.is_empty() {
        input.push(Value::Object(later));
    }
    let input = Value::from(input);
    Sha256::digest(input.to_string().as_bytes()).to_vec()
}
