//! The types between claiming, the worker and settling: a claimed message, the step to take, and its outcome.

use entity::message;

/// The messages of one claim.
#[derive(Debug, Default)]
pub struct Claim {
    pub messages: Vec<Claimed>,
    /// Whether more messages may be due than fitted into this claim.
    pub has_more: bool,
}

/// A message that this worker may act on until its lease expires.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub message: message::Model,
    pub step: Step,
}

/// The action to take on a claimed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Submit it to the carrier for the first time.
    Send,
    /// A worker was interrupted while submitting it: it may have been sent.
    Resume,
    /// It was submitted: request its delivery report.
    Report,
    /// Its `validUntil` passed before it was submitted.
    Expire,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Sent,
    Delivered,
    /// There is no report yet: request it again later.
    Pending,
    Undelivered {
        code: String,
        text: String,
    },
    /// It was not submitted before `validUntil`; refunded.
    Expired,
    /// The carrier did not accept it; refunded.
    Failed {
        code: String,
        text: String,
    },
    Unknown {
        code: String,
        text: String,
    },
}
