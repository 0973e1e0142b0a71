//! Sends messages: checks the input, resolves recipient, content, sender and price, and passes priced messages to
//! billing, which accepts or refuses them. A quote takes the same path without storing anything, so it agrees with a
//! send, except for a hidden balance (see `billing::quote`).
//!
//! A message is represented by these types in turn: `NewMessage` (the input), `CheckedInput`, `PricedMessage`, and
//! billing's `Verdict`, which contains the row of an accepted message.

use std::collections::HashMap;

use entity::message;
use uuid::Uuid;

use super::{
    Fault, Refusal, Unavailable, bad_input,
    billing::{self, Verdict},
    caller::AccountCaller,
    channel::{
        segments::{self, SmsEncoding},
        send_refusal::SendRefusal,
    },
    deadline::Deadline,
    write_rate::CallBytes,
};
use crate::{app::App, limits::memory_budget::Reservation, money::Micros};
use prepare::{prepare, prepare_one};

pub mod backlog;
pub mod cancel;
pub mod delivery;
pub mod input;
pub mod list;
mod prepare;
pub mod quiet_hours;
pub mod source;
pub mod test_retention;

pub use input::NewMessage;

/// Maximum number of messages in one call.
pub const MESSAGES_PER_CALL_MAX: usize = 100;

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
