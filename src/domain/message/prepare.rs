//! Prepares messages for billing: checks the input, resolves recipient, content and sender, and adds the price.

use chrono::{DateTime, Utc};
use entity::api_key::Environment;
use sea_orm::ActiveEnum as _;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    NewMessage,
    source::{self, Destination, Resolved, Source},
};
use crate::{
    app::App,
    carrier::test_recipients::{TestRecipient, test_recipient},
    domain::{
        Failure, Fault, Refusal,
        billing::{Draft, PriceRefusal, PricedMessage},
        caller::AccountCaller,
        channel::{schedule::Schedule, segments, send_refusal::SendRefusal, sender_cache::Origin},
        deadline::Deadline,
        refused, sender,
        validate::{self, IDEMPOTENCY_KEY_RULE, METADATA_RULE},
        write_rate::CallBytes,
    },
    money::Micros,
};

/// The checked input of a message, without its destination and source.
struct CheckedInput {
    sender_id: Option<Uuid>,
    metadata: Option<String>,
    schedule: Schedule,
    idempotency_key: Option<String>,
    input_hash: Vec<u8>,
}

/// Checks the input of messages and resolves their content, sender and cost. The refusals returned here depend only
/// on the input. A refusal because of a contact, template or sender is kept in `PricedMessage::draft`, because billing
/// checks the idempotency key first.
pub(super) async fn prepare(
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

/// Prepares one message like [`prepare`].
pub(super) async fn prepare_one(
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
