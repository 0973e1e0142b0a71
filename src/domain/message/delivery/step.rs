//! What the worker does with a claimed message, and what can come of it.

use entity::message;

/// What one claim took.
#[derive(Debug, Default)]
pub struct Claim {
    pub messages: Vec<Claimed>,
    /// More may be due than this claim had room for.
    pub has_more: bool,
}

/// A message that this worker may act on until its lease runs out.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub message: message::Model,
    pub step: Step,
}

/// What is to be done with a claimed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Hand it over for the first time.
    Send,
    /// A worker was cut off while handing it over: it may have gone out.
    Resume,
    /// It was handed over: ask what became of it.
    Report,
    /// Its time is over before it was handed over.
    Expire,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Sent,
    Delivered,
    /// Ask again later.
    Pending,
    Undelivered {
        code: String,
        text: String,
    },
    /// It was not handed over in its time: refunded.
    Expired,
    /// It reached no provider: refunded.
    Failed {
        code: String,
        text: String,
    },
    Unknown {
        code: String,
        text: String,
    },
}
