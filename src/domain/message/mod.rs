//! Sends messages: checks the input, resolves recipient, content, sender and price, and passes priced messages to
//! billing, which accepts or refuses them. A quote takes the same path without storing anything, so it agrees with a
//! send, except for a hidden balance (see `billing::quote`).
//!
//! A message is represented by these types in turn: `NewMessage` (the input), `CheckedInput`, `PricedMessage`, and
//! billing's `Verdict`, which contains the row of an accepted message.

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
    carrier::test_recipients::{TestRecipient, test_recipient},
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

/// Maximum number of messages in one call.
pub const MESSAGES_PER_CALL_MAX: usize = 100;

/// The checked input of a message, without its destination and source.
struct CheckedInput {
    sender_id: Option<Uuid>,
    metadata: Option<String>,
    schedule: Schedule,
    idempotency_key: Option<String>,
    input_hash: Vec<u8>,
}

/// The result that a send would have at this moment.
#[derive(Debug)]
pub struct Quote {
    /// `None` if the input is invalid or there is no price.
    pub cost: Option<Micros>,
    pub segments: Option<i32>,
    /// The encoding of an SMS; `None` for other channels.
    pub encoding: Option<SmsEncoding>,
    pub refusal: Option<Refusal<SendRefusal>>,
}

/// The result of sending one message.
#[derive(Debug)]
pub enum Sent {
    /// The message was charged and stored for delivery.
    Accepted(message::Model),
    /// The message was accepted by an earlier call with the same idempotency key. This call charges nothing.
    Replayed(message::Model),
    Refused(Refusal<SendRefusal>),
}

/// Sends one message. A replayed message is read within `reservation`.
pub async fn send(
    app: &App,
    caller: &AccountCaller,
    message: NewMessage,
    deadline: &Deadline,
    reservation: &Reservation,
) -> Result<Sent, Fault> {
    let bytes = CallBytes::charged_to(app, caller);
    let verdict = match prepare_one(app, caller, message, bytes, deadline).await? {
        Ok(message) => billing::accept_one(app, caller, message, deadline).await?,
        Err(refusal) => Verdict::Refused(refusal),
    };
    let mut sent = with_replays(app, caller, vec![verdict], reservation).await?;
    sent.pop().ok_or(Fault::Broken("every verdict has a result"))
}

/// Sends messages in order, with the same results as separate sends. Replayed messages are read within `reservation`.
pub async fn send_many(
    app: &App,
    caller: &AccountCaller,
    messages: Vec<NewMessage>,
    deadline: &Deadline,
    reservation: &Reservation,
) -> Result<Vec<Sent>, Fault> {
    if messages.len() > MESSAGES_PER_CALL_MAX {
        return Err(bad_input(
            "A call can send at most 100 messages. Send the others in another call.",
        ));
    }
    // Verdicts stay in the order of the input. Messages with invalid input get their verdicts here, and the other
    // verdicts are filled in below.
    let mut verdicts: Vec<Option<Verdict>> = Vec::with_capacity(messages.len());
    let mut priced = Vec::with_capacity(messages.len());
    let bytes = CallBytes::charged_to(app, caller);
    for message in prepare(app, caller, messages, bytes, deadline).await? {
        match message {
            Ok(message) => {
                priced.push(message);
                verdicts.push(None);
            }
            Err(refusal) => verdicts.push(Some(Verdict::Refused(refusal))),
        }
    }
    let mut accepted = billing::accept(app, caller, priced, deadline).await?.into_iter();
    let verdicts = verdicts
        .into_iter()
        .map(|refused| refused.or_else(|| accepted.next()))
        .collect::<Option<Vec<_>>>()
        .ok_or(Fault::Broken("billing returns a verdict for every priced message"))?;
    with_replays(app, caller, verdicts, reservation).await
}

/// Converts verdicts to results, reading the rows of replayed messages. If the call was charged for a message, a
/// failure of this read does not make the whole call fail, because the client must be informed about the charge.
async fn with_replays(
    app: &App,
    caller: &AccountCaller,
    verdicts: Vec<Verdict>,
    reservation: &Reservation,
) -> Result<Vec<Sent>, Fault> {
    let is_charged = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Accepted(_)));
    let found = match read_replays(app, caller, &verdicts, reservation).await {
        Ok(found) => found,
        Err(fault) if is_charged => {
            tracing::warn!(%fault, "Replayed messages could not be read for the response to a send");
            HashMap::new()
        }
        Err(fault) => return Err(fault),
    };
    let results = verdicts.into_iter().map(|verdict| match verdict {
        Verdict::Accepted(message) => Ok(Sent::Accepted(message)),
        Verdict::Refused(refusal) => Ok(Sent::Refused(refusal)),
        Verdict::Replayed(id) => match found.get(&id) {
            Some(message) => Ok(Sent::Replayed(message.clone())),
            None if is_charged => Ok(Sent::Refused(replay_unavailable())),
            // The message was a TEST message that has just been deleted. A retry sends a new message.
            None => Err(Unavailable::OutcomeUnknown.into()),
        },
    });
    results.collect()
}

/// Returns the refusal for a replayed message that cannot be read, in a call that was charged for other messages.
fn replay_unavailable() -> Refusal<SendRefusal> {
    let message = "The message was already accepted with this idempotencyKey, but it cannot be returned right now. \
                   It was not charged again. Send it again in a call of its own, with the same idempotencyKey.";
    Refusal { code: SendRefusal::Overloaded, message: message.into(), field: &[] }
}

/// Reads the replayed messages outside the team's lock. The messages are read within `reservation`, because a small
/// call may replay large messages.
async fn read_replays(
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

/// Returns the cost of a send and whether the message would be accepted. Stores and charges nothing.
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

/// Checks the input of messages and resolves their content, sender and cost. The refusals returned here depend only
/// on the input. A refusal because of a contact, template or sender is kept in `PricedMessage::draft`, because billing
/// checks the idempotency key first.
async fn prepare(
    app: &App,
    caller: &AccountCaller,
    messages: Vec<NewMessage>,
    mut bytes: CallBytes,
    deadline: &Deadline,
) -> Result<Vec<Result<PricedMessage, Refusal<SendRefusal>>>, Fault> {
    let now = app.clock.now();
    let mut checked = Vec::with_capacity(messages.len());
    let mut references = Vec::with_capacity(messages.len());
    for message in messages {
        match check(message, now) {
            Ok((message, destination, source)) => {
                bytes.add(message.metadata.as_ref().map_or(0, String::len))?;
                if let Source::Content(content) = &source {
                    bytes.add(content.bytes())?;
                }
                checked.push(Ok(message));
                references.push((destination, source));
            }
            Err(Failure::Refused(refusal)) => checked.push(Err(refusal)),
            Err(Failure::Fault(fault)) => return Err(fault),
        }
    }
    // The write rate is charged before waiting for the database. So a call that exceeds the rate does not use memory
    // while it waits.
    bytes.charge()?;
    let named: Vec<Uuid> =
        checked.iter().flatten().filter_map(|message: &CheckedInput| message.sender_id).collect();
    let readers = app.read_as(caller);
    let senders = app.senders.of_account(&readers, caller.account_id, &named).await?;
    let (resolved, mut bytes) = source::resolve(app, caller, references, bytes, deadline).await?;
    bytes.charge()?;
    let mut resolved = resolved.into_iter();
    let mut prepared = Vec::with_capacity(checked.len());
    for message in checked {
        let CheckedInput { sender_id, metadata, schedule, idempotency_key, input_hash } =
            match message {
                Ok(message) => message,
                Err(refusal) => {
                    prepared.push(Err(refusal));
                    continue;
                }
            };
        let resolved = resolved.next().ok_or(Fault::Broken("every checked message is resolved"))?;
        let with_origin = resolved.and_then(|resolved| {
            let channel = resolved.recipient.channel;
            let origin = sender::identity::choose(&senders, sender_id, channel)?;
            Ok((resolved, origin))
        });
        let draft = match with_origin {
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
    bytes: CallBytes,
    deadline: &Deadline,
) -> Result<Result<PricedMessage, Refusal<SendRefusal>>, Fault> {
    let mut prepared = prepare(app, caller, vec![message], bytes, deadline).await?;
    prepared.pop().ok_or(Fault::Broken("every message is prepared"))
}

/// Checks and normalizes a message without reading the database.
fn check(
    mut message: NewMessage,
    now: DateTime<Utc>,
) -> Result<(CheckedInput, Destination, Source), Failure<SendRefusal>> {
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
    let checked = CheckedInput { sender_id, metadata, schedule, idempotency_key, input_hash };
    Ok((checked, destination, source))
}

/// Adds the price and the origin to a resolved message.
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

/// Returns the refusal for money reasons that a TEST message to this recipient simulates.
fn simulated_refusal(recipient: &str) -> Option<SendRefusal> {
    match test_recipient(recipient)? {
        TestRecipient::CreditLimit => Some(SendRefusal::CreditLimitReached),
        TestRecipient::Balance => Some(SendRefusal::InsufficientBalance),
        TestRecipient::Fail | TestRecipient::Undelivered | TestRecipient::Unknown => None,
    }
}

/// Returns the hash of the input. A call with the same idempotency key is a replay only if its hash is the same. The
/// hash covers only the input, not the resolved contact, template or default sender. Fields that were added in later
/// versions are hashed only if set, so that stored hashes stay valid.
fn hash(
    destination: &Destination,
    source: &Source,
    sender_id: Option<Uuid>,
    metadata: Option<&str>,
    schedule: Schedule,
) -> Vec<u8> {
    let mut added_fields = Map::new();
    let (channel, address) = match destination {
        Destination::Address(recipient) => (Some(recipient.channel), Some(&recipient.address)),
        Destination::Contact { id, channel } => {
            added_fields.insert("contactId".to_owned(), json!(id));
            (*channel, None)
        }
    };
    let channel = channel.map(|channel| channel.to_value());
    let (text, subject) = match source {
        Source::Content(content) => {
            if let Some(html) = &content.html {
                added_fields.insert("html".to_owned(), json!(html));
            }
            (Some(&content.text), content.subject.as_ref())
        }
        Source::Template { id, variables } => {
            added_fields.insert("templateId".to_owned(), json!(id));
            added_fields.insert("variables".to_owned(), json!(variables));
            (None, None)
        }
    };
    if let Some(sender_id) = sender_id {
        added_fields.insert("senderId".to_owned(), json!(sender_id));
    }
    let mut input = vec![json!(channel), json!(address), json!(text), json!(subject)];
    input.push(json!(metadata));
    if schedule != Schedule::default() {
        let millis = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_millis());
        let (send_at, valid_until) = (millis(schedule.send_at), millis(schedule.valid_until));
        input.push(json!({ "sendAt": send_at, "validUntil": valid_until }));
    }
    if !added_fields.is_empty() {
        input.push(Value::Object(added_fields));
    }
    let input = Value::from(input);
    Sha256::digest(input.to_string().as_bytes()).to_vec()
}
