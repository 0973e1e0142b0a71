//! The time in which a message may be sent: not before `sendAt`, and not from `validUntil` on.

use chrono::{DateTime, TimeDelta, Utc};
use entity::message;

use super::send_refusal::{SEND_AT_RULE, SendRefusal};
use crate::domain::{Failure, refused};

/// How far ahead a message can be scheduled.
pub const SEND_AHEAD_MAX: TimeDelta = TimeDelta::days(30);

/// The moments between which a message may go out, as its sender gave them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    pub send_at: Option<DateTime<Utc>>,
    pub valid_until: Option<DateTime<Utc>>,
}

impl Schedule {
    /// Refuses a `sendAt` too far ahead. One in the past means at once.
    pub fn check(self, now: DateTime<Utc>) -> Result<(), Failure<SendRefusal>> {
        if self.send_at.is_some_and(|send_at| send_at > now + SEND_AHEAD_MAX) {
            let field = &["input", "sendAt"];
            return Err(refused(SendRefusal::SendAtInvalid, field, SEND_AT_RULE));
        }
        Ok(())
    }

    /// When the message may go out at the earliest, if it is accepted `now`.
    pub fn due_at(self, now: DateTime<Utc>) -> DateTime<Utc> {
        self.send_at.map_or(now, |send_at| send_at.max(now))
    }

    /// Whether there is any time for it to go out, as of `now`.
    pub fn can_be_kept(self, now: DateTime<Utc>) -> bool {
        self.valid_until.is_none_or(|until| until > self.due_at(now))
    }
}

/// Whether the time in which the message may go out is over.
pub fn is_over(message: &message::Model, now: DateTime<Utc>) -> bool {
    message.valid_until.is_some_and(|until| until <= now)
}
