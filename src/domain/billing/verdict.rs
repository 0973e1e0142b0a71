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
    /// The message was charged, stored, and queued for delivery.
    Accepted(message::Model),
    /// The message was accepted by an earlier call with the same idempotency key, and has this id. This call charged
    /// nothing.
    Replayed(Uuid),
    Refused(Refusal<SendRefusal>),
}

/// A message whose input was checked.
#[derive(Clone, Debug)]
pub struct PricedMessage {
    /// The content, recipient and price, or the refusal if its contact, template or sender cannot be used.
    pub draft: Result<Draft, Refusal<SendRefusal>>,
    /// The metadata: a JSON object as text.
    pub metadata: Option<String>,
    pub schedule: Schedule,
    pub idempotency_key: Option<String>,
    /// SHA-256 of the normalized input.
    pub input_hash: Vec<u8>,
}

impl PricedMessage {
    /// Returns the number of bytes of the message's content and metadata. The other parts of a message are small.
    pub fn bytes(&self) -> usize {
        let content = self.draft.as_ref().map_or(0, |draft| draft.content.bytes());
        content + self.metadata.as_ref().map_or(0, String::len)
    }

    /// Returns the number of bytes that the message uses of the account's storage for TEST messages.
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
    /// The sender and its identity; `None` if the message has no sender.
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
    /// The credit limit; `None` for a main account, and for a sub-account without a limit.
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
    /// Decides on a message. `earlier_hash` is the input hash of the stored message with the same idempotency key, if
    /// there is such a message. If several checks fail, the first one determines the refusal.
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
        // This check comes after the idempotency key, because a replay must work even after `validUntil`.
        if !message.schedule.is_possible(self.now) {
            return Judgement::Refuse(SendRefusal::ValidUntilInvalid);
        }
        // These checks also come after the idempotency key, because a replay must work even if its contact, template or
        // sender was deleted.
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
            // Free messages are accepted regardless of the credit limit and the balance.
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

/// Returns whether the credit limit is reached before the charge. A charge that crosses the limit is still accepted.
/// The limit is also treated as reached if the total would exceed the maximum amount.
pub(super) fn is_at_limit(credit_limit: Option<Micros>, total_spent: Micros, cost: Micros) -> bool {
    credit_limit.is_some_and(|limit| total_spent >= limit)
        || total_spent.checked_add(cost).is_none()
}

/// Returns the refusal with this code for a message.
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
