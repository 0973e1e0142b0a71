//! Carriers: what takes a message to a person. The trait is the outside world; this version has the
//! sandbox only, which reaches nobody.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use entity::{
    api_key::Environment,
    message::{self, Channel},
};

pub mod sandbox;
pub mod test_recipients;

use sandbox::Sandbox;

/// Why a carrier did not take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Refused for good: the message failed and is refunded.
    Rejected { code: String, text: String },
    /// No answer: it may have gone out, so it is neither sent again nor refunded.
    Unknown { code: String, text: String },
}

/// What became of a message that the carrier took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Delivered,
    Undelivered {
        code: String,
        text: String,
    },
    /// Nothing yet: ask again later.
    Pending,
}

/// A way to reach people on some channel. Delivery is at-least-once: the message's id is the
/// carrier's idempotency key.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Hands the message over: of an e-mail its text, its HTML, or both as alternatives. It is to
    /// come from the message's `sent_from`; without one the carrier takes what it was set up with.
    async fn send(&self, message: &message::Model) -> Result<(), SendError>;

    /// Asks what became of a message that was handed over.
    async fn report(&self, message: &message::Model) -> Report;

    /// Whether handing over the same message twice reaches a person once at most. If not, a message
    /// whose hand-over was cut off stays UNKNOWN.
    fn may_repeat(&self) -> bool;
}

/// The carriers that this server was set up with. TEST messages always go to the sandbox (R15).
#[derive(Clone)]
pub struct Carriers {
    live: HashMap<Channel, Arc<dyn Carrier>>,
    sandbox: Arc<dyn Carrier>,
}

impl Carriers {
    /// No carrier for LIVE messages: they are refused with `CHANNEL_UNAVAILABLE`.
    pub fn none() -> Self {
        Self { live: HashMap::new(), sandbox: Arc::new(Sandbox) }
    }

    /// The same carrier for the LIVE messages of every channel.
    pub fn all(carrier: &Arc<dyn Carrier>) -> Self {
        let channels = [Channel::Sms, Channel::Email, Channel::Whatsapp, Channel::Telegram];
        let live = channels.into_iter().map(|channel| (channel, Arc::clone(carrier))).collect();
        Self { live, sandbox: Arc::new(Sandbox) }
    }

    /// Whether LIVE messages can be sent on this channel.
    pub fn has(&self, channel: Channel) -> bool {
        self.live.contains_key(&channel)
    }

    /// The carrier of this message; `None` if the server lost it since the message was accepted.
    pub fn of(&self, message: &message::Model) -> Option<&Arc<dyn Carrier>> {
        match message.environment {
            Environment::Test => Some(&self.sandbox),
            Environment::Live => self.live.get(&message.channel),
        }
    }
}
