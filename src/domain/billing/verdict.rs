//! The judgement of a send (R8), as a pure function of what was read under the team's lock.

use crate::domain::channel::send_refusal::SendRefusal;
use chrono::{DateTime, Utc};
use entity::{
    account::AccountStatus,
    api_key::Environment,
    message::{self},
};

use uuid::Uuid;

use super::test_storage::TestStored;
use crate::{
    domain::{
        Refusal,
        channel::{
            content::Content, recipient::Recipient, schedule::Schedule, sender_cache::Origin,
        },
    },
    money::Micros,
};

/// The answer to one message.
#[expect(clippy::large_enum_variant, reason = "nearly every message is accepted")]
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Charged, stored, and due for delivery.
    Accepted(message::Model),
    /// Accepted earlier under the same idempotency key, as this message; nothing was charged now.
    Replayed(Uuid),
    Refused(Refusal<SendRefusal>),
}

/// A message that passed the checks of its input.
#[derive(Clone, Debug)]
pub struct PricedMessage {
    /// What goes out, or why its contact, its template or its sender gave nothing to send.
    pub draft: Result<Draft, Refusal<SendRefusal>>,
    /// A JSON object as text.
    pub metadata: Option<String>,
    pub schedule: Schedule,
    pub idempotency_key: Option<String>,
    /// SHA-256 of the normalised input.
    pub input_hash: Vec<u8>,
}

impl PricedMessage {
    /// Bytes of its words: what it takes in memory and in the database, but for its small parts.
    pub fn bytes(&self) -> usize {
        let content = self.draft.as_ref().map_or(0, |draft| draft.content.bytes());
        content + self.metadata.as_ref().map_or(0, String::len)
    }

    /// The bytes that count to what the account stores of TEST messages.
    pub(super) fn word_bytes(&self, environment: Environment) -> i64 {
        match environment {
            Environment::Live => 0,
            Environment::Test => i64::try_from(self.bytes()).unwrap_or(i64::MAX),
        }
    }
}

/// What goes out, to whom, and at what price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub recipient: Recipient,
    /// The contact that the recipient was found by.
    pub contact_id: Option<Uuid>,
    pub content: Content,
    /// As whom it goes out; `None` if without a sender.
    pub origin: Option<Origin>,
    pub segments: i32,
    /// What it costs in all; 0 in the TEST environment.
    pub cost: Result<Micros, PriceRefusal>,
    /// What a magic recipient of the TEST environment simulates at the money checks.
    pub simulated: Option<SendRefusal>,
}

/// Why a message has no cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceRefusal {
    /// No carrier is set up for the channel.
    ChannelUnavailable,
    NoPrice,
}

/// What judges a send besides the message itself.
#[derive(Clone, Debug)]
pub struct AccountState {
    pub now: DateTime<Utc>,
    pub environment: Environment,
    pub is_key_usable: bool,
    pub status: AccountStatus,
    /// Whether the contact that the message goes to was deleted since it was found, or is being erased.
    pub is_contact_gone: bool,
    /// Whether the recipient wants nothing more from the account by this channel.
    pub is_opted_out: bool,
    /// `None` on a main account, or without a limit.
    pub credit_limit: Option<Micros>,
    pub total_spent: Micros,
    pub balance: Micros,
    /// What the account stores of TEST messages.
    pub test_stored: TestStored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement<'m> {
    /// Accept it, send this and charge this much.
    Accept(&'m Draft, Micros),
    /// The same input under the same idempotency key was accepted before.
    Replay,
    /// The key was revoked or ran out since the request was let in.
    KeyRevoked,
    Refuse(SendRefusal),
}

impl AccountState {
    /// Judges a message; `earlier_hash` is the input hash of the message that holds its idempotency
    /// key, if there is one. The first check that fails is the one reported.
    pub fn judge<'m>(
        &self,
        message: &'m PricedMessage,
        earlier_hash: Option<&[u8]>,
    ) -> Judgement<'m> {
        if let Some(earlier_hash) = earlier_hash {
            return if earlier_hash == message.input_hash {
                Judgement::Replay
            } else {
                Judgement::Refuse(SendRefusal::IdempotencyConflict)
            };
        }
        // Not with the checks of the input: a repeat is answered also when its time is over.
        if !message.schedule.is_possible(self.now) {
            return Judgement::Refuse(SendRefusal::ValidUntilInvalid);
        }
        // Nor these: a repeat is answered also when its contact, template or sender is gone.
        let draft = match &message.draft {
            Ok(_) if self.is_contact_gone => {
                return Judgement::Refuse(SendRefusal::ContactNotFound);
            }
            Ok(draft) => draft,
            Err(refusal) => return Judgement::Refuse(refusal.code),
        };
        if !self.is_key_usable {
            return Judgement::KeyRevoked;
        }
        match self.status {
            AccountStatus::Active => {}
            AccountStatus::Suspended => return Judgement::Refuse(SendRefusal::AccountSuspended),
            AccountStatus::Inactive => return Judgement::Refuse(SendRefusal::AccountInactive),
        }
        if self.is_opted_out {
            return Judgement::Refuse(SendRefusal::OptedOut);
        }
        let cost = match draft.cost {
            Ok(cost) => cost,
            Err(PriceRefusal::ChannelUnavailable) => {
                return Judgement::Refuse(SendRefusal::ChannelUnavailable);
            }
            Err(PriceRefusal::NoPrice) => return Judgement::Refuse(SendRefusal::NoPrice),
        };
        match self.environment {
            Environment::Test => match draft.simulated {
                Some(code) => Judgement::Refuse(code),
                None if self.test_stored.has_room_for(message.word_bytes(self.environment)) => {
                    Judgement::Accept(draft, cost)
                }
                None => Judgement::Refuse(SendRefusal::TestStorageFull),
            },
            // What costs nothing is not blocked by money.
            Environment::Live if cost == Micros::ZERO => Judgement::Accept(draft, cost),
            Environment::Live if is_at_limit(self.credit_limit, self.total_spent, cost) => {
                Judgement::Refuse(SendRefusal::CreditLimitReached)
            }
            Environment::Live if cost > self.balance => {
                Judgement::Refuse(SendRefusal::InsufficientBalance)
            }
            Environment::Live => Judgement::Accept(draft, cost),
        }
    }
}

/// `totalSpent >= creditLimit` before the charge, so the charge that crosses the limit is still
/// made. A total beyond the bound of money counts as a limit too.
pub(super) fn is_at_limit(credit_limit: Option<Micros>, total_spent: Micros, cost: Micros) -> bool {
    credit_limit.is_some_and(|limit| total_spent >= limit)
        || total_spent.checked_add(cost).is_none()
}

/// The refusal of a judged message.
pub(super) fn refusal(code: SendRefusal, message: &PricedMessage) -> Refusal<SendRefusal> {
    match &message.draft {
        Err(own) if own.code == code => own.clone(),
        Err(_) => Refusal { code, message: code.message(None).into(), field: code.field(false) },
        Ok(draft) => {
            let text = code.message(Some(draft.recipient.channel));
            Refusal { code, message: text.into(), field: code.field(draft.contact_id.is_some()) }
        }
    }
}
