//! The sandbox carrier: takes every message, reaches nobody, and reports it delivered, except for
//! magic recipients, which show what failing looks like. The README lists them for users.
//!
//! | phone number or chat id | e-mail | what happens |
//! | --- | --- | --- |
//! | `+15005550001` | `fail@…` | FAILED: rejected, refunded |
//! | `+15005550002` | `undelivered@…` | SENT, then UNDELIVERED: stays charged |
//! | `+15005550003` | `unknown@…` | UNKNOWN: no answer, stays charged |
//! | `+15005550004` | `credit-limit@…` | TEST keys: refused with `CREDIT_LIMIT_REACHED` |
//! | `+15005550005` | `balance@…` | TEST keys: refused with `INSUFFICIENT_BALANCE` |
//!
//! A Telegram chat id is one of these numbers without `+`.

use async_trait::async_trait;
use entity::message;

use super::{Carrier, Report, SendError};
use crate::domain::billing::SendRefusal;

/// Reaches nobody.
pub struct Sandbox;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magic {
    Fail,
    Undelivered,
    Unknown,
    CreditLimit,
    Balance,
}

fn magic(recipient: &str) -> Option<Magic> {
    let name = match recipient.split_once('@') {
        Some((local_part, _)) => local_part,
        None => recipient.trim_start_matches('+'),
    };
    match name {
        "15005550001" | "fail" => Some(Magic::Fail),
        "15005550002" | "undelivered" => Some(Magic::Undelivered),
        "15005550003" | "unknown" => Some(Magic::Unknown),
        "15005550004" | "credit-limit" => Some(Magic::CreditLimit),
        "15005550005" | "balance" => Some(Magic::Balance),
        _ => None,
    }
}

/// The money refusal that a TEST message to this recipient simulates.
pub fn simulated_refusal(recipient: &str) -> Option<SendRefusal> {
    match magic(recipient)? {
        Magic::CreditLimit => Some(SendRefusal::CreditLimitReached),
        Magic::Balance => Some(SendRefusal::InsufficientBalance),
        Magic::Fail | Magic::Undelivered | Magic::Unknown => None,
    }
}

#[async_trait]
impl Carrier for Sandbox {
    async fn send(&self, message: &message::Model) -> Result<(), SendError> {
        match magic(&message.recipient) {
            Some(Magic::Fail) => Err(SendError::Rejected {
                code: "SANDBOX_REJECTED".to_owned(),
                text: "The sandbox rejects this magic recipient.".to_owned(),
            }),
            Some(Magic::Unknown) => Err(SendError::Unknown {
                code: "SANDBOX_NO_ANSWER".to_owned(),
                text: "The sandbox gives no answer for this magic recipient.".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    async fn report(&self, message: &message::Model) -> Report {
        match magic(&message.recipient) {
            Some(Magic::Undelivered) => Report::Undelivered {
                code: "SANDBOX_UNDELIVERED".to_owned(),
                text: "The sandbox does not deliver to this magic recipient.".to_owned(),
            },
            _ => Report::Delivered,
        }
    }

    /// It reaches nobody, so never a person twice.
    fn may_repeat(&self) -> bool {
        true
    }
}
