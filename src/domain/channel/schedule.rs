//! The period in which a message may be sent: from `sendAt` until just before `validUntil`.

use chrono::{DateTime, TimeDelta, Utc};
use entity::message;

use super::send_refusal::{SEND_AT_RULE, SendRefusal};
use crate::domain::{Failure, refused};

/// Maximum time for which a message can be scheduled ahead.
pub const SEND_AHEAD_MAX: TimeDelta = TimeDelta::days(30);

/// The times between which a message may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    pub send_at: Option<DateTime<Utc>>,
    pub valid_until: Option<DateTime<Utc>>,
}

impl Schedule {
    /// Refuses a `sendAt` that is too far ahead. A `sendAt` in the past means immediately.
    pub fn check(self, now: DateTime<Utc>) -> Result<(), Failure<SendRefusal>> {
        if self.send_at.is_some_and(|send_at| send_at > now + SEND_AHEAD_MAX) {
            let field = &["input", "sendAt"];
            return Err(refused(SendRefusal::SendAtInvalid, field, SEND_AT_RULE));
        }
        Ok(())
    }

    /// Returns the earliest time at which a message that is accepted `now` may be sent.
    pub fn due_at(self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.send_at.map_or(now, |send_at| send_at.max(now))
    }

    /// Returns whether a message that is accepted `now` can still be sent before `valid_until`.
    pub fn is_possible(self, now: DateTime<Utc>) -> bool {
        self.valid_until.is_none_or(|until| until > self.due_at(now))
    }
}

/// Returns whether the period in which the message may be sent has ended.
pub fn is_over(message: &message::Model, now: DateTime<Utc>) -> bool {
    message.valid_until.is_some_and(|until| until <= now)
}
