//! The decision on a send, as a pure function of the rows that were read under the team's lock.

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

/// The result of one message.
#[expect(clippy::large_enum_variant, reason = "nearly every message is accepted")]
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Charged, stored, and queued for delivery.
    Accepted(message::Model),
    /// Accepted by an earlier call with the same idempotency key, as the message with this id; this call charged
    /// nothing.
    Replayed(Uuid),
    Refused(Refusal<SendRefusal>),
}

/// A message whose input was checked.
#[derive(Clone, Debug)]
pub struct PricedMessage {
    /// The content and recipient, or the refusal because of its contact, template or sender.
    pub draft: Result<Draft, Refusal<SendRefusal>>,
    /// A JSON object as text.
    pub metadata: Option<String>,
    pub schedule: Schedule,
    pub idempotency_key: Option<String>,
    /// SHA-256 of the normalized input.
    pub input_hash: Vec<u8>,
}

impl PricedMessage {
    /// Number of bytes of the message's content and metadata; its other parts are small.
    pub fn bytes(&self) -> usize {
        let content = self.draft.as_ref().map_or(0, |draft| draft.content.bytes());
        content + self.metadata.as_ref().map_or(0, String::len)
    }

    /// The bytes that count towards the account's storage for TEST messages.
    pub(super) fn word_bytes(&self, environment: Environment) -> i64 {
        match environment {
            Environment::Live => 0,
            Environment::Test => i64::try_from(self.bytes()).unwrap_or(i64::MAX),
        }
    }
}

/// Content, recipient and price of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub recipient: Recipient,
    /// The contact that the recipient's address belongs to.
    pub contact_id: Option<Uuid>,
    pub content: Content,
    /// `None` without a sender.
    pub origin: Option<Origin>,
    pub segments: i32,
    /// The cost of all segments; 0 in the TEST environment.
    pub cost: Result<Micros, PriceRefusal>,
    /// The refusal that a test recipient simulates, in the TEST environment.
    pub simulated: Option<SendRefusal>,
}

/// The reason why a message has no cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceRefusal {
    /// The channel has no carrier.
    ChannelUnavailable,
    NoPrice,
}

/// The state of the key, account, team and recipient on which the verdict depends.
#[derive(Clone, Debug)]
pub struct AccountState {
    pub now: DateTime<Utc>,
    pub environment: Environment,
    pub is_key_usable: bool,
    pub status: AccountStatus,
    /// Whether the message's contact was deleted after it was read, or is being erased.
    pub is_contact_gone: bool,
    /// Whether the recipient has opted out of the account's messages on this channel.
    pub is_opted_out: bool,
    /// `None` for a main account or without a limit.
    pub credit_limit: Option<Micros>,
    pub total_spent: Micros,
    pub balance: Micros,
    pub test_stored: TestStored,
}

/// The decision on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement<'m> {
    /// Accept this draft and charge this amount.
    Accept(&'m Draft, Micros),
    /// The same input was accepted before with the same idempotency key.
    Replay,
    /// The key was revoked or expired after the request was authenticated.
    KeyRevoked,
    Refuse(SendRefusal),
}

impl AccountState {
    /// Decides on a message. `earlier_hash` is the input hash of the stored message with the same idempotency
    /// key, if there is one. The first failed check is reported.
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
        // This is not one of the input checks, because a replay must work even after `validUntil`.
        if !message.schedule.is_possible(self.now) {
            return Judgement::Refuse(SendRefusal::ValidUntilInvalid);
        }
        // These are not input checks either, because a replay must work even if its contact, template or sender was
        // deleted.
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
                None if self.test_stored.can_add(message.word_bytes(self.environment)) => {
                    Judgement::Accept(draft, cost)
                }
                None => Judgement::Refuse(SendRefusal::TestStorageFull),
            },
            // Free messages are not checked against limit and balance.
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

/// Whether the credit limit is reached before the charge; the charge that crosses the limit is accepted.
/// The limit is also reached if the total would exceed the maximum amount.
pub(super) fn is_at_limit(credit_limit: Option<Micros>, total_spent: Micros, cost: Micros) -> bool {
    credit_limit.is_some_and(|limit| total_spent >= limit)
        || total_spent.checked_add(cost).is_none()
}

/// The refusal of a message with this code.
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
