//! The types that claiming, the worker and settling share: a claimed message, the step to take, and the outcome of the
//! step.

use entity::message;

/// The messages of one claim.
#[derive(Debug, Default)]
pub struct Claim {
    pub messages: Vec<Claimed>,
    /// Whether more messages may be due than fit into this claim.
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
    /// Submit the message to the carrier for the first time.
    Send,
    /// A worker was interrupted while submitting the message. The message may have been sent.
    Resume,
    /// The message was submitted: request its delivery report.
    Report,
    /// The message's `validUntil` passed before it was submitted.
    Expire,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Sent,
    Delivered,
    /// There is no final report yet. Request it again later.
    Pending,
    Undelivered {
        code: String,
        text: String,
    },
    /// The message was not submitted before its `validUntil`. The message is refunded.
    Expired,
    /// The carrier did not accept the message. The message is refunded.
    Failed {
        code: String,
        text: String,
    },
    Unknown {
        code: String,
        text: String,
    },
}
