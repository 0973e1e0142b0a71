//! Carriers deliver messages to recipients. The only carrier in this version is the sandbox, which delivers to nobody.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use entity::{
    api_key::Environment,
    message::{self, Channel},
};

pub mod sandbox;
pub mod test_recipients;

use sandbox::Sandbox;

/// Why a carrier did not accept a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The carrier rejected the message permanently. The message becomes FAILED and is refunded.
    Rejected { code: String, text: String },
    /// The carrier did not respond. The message may have been delivered, so it is neither sent again nor refunded.
    Unknown { code: String, text: String },
}

/// The delivery report for a message that the carrier accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Delivered,
    Undelivered {
        code: String,
        text: String,
    },
    /// There is no final report yet; poll again later.
    Pending,
}

/// A provider that delivers the messages of one or more channels. Delivery is at-least-once: an implementation must use
/// the message's id as its idempotency key.
#[async_trait]
pub trait Carrier: Send + Sync {
    /// Submits a message. An e-mail has text, HTML, or both as alternatives. The sender is the message's `sent_from`,
    /// or else the carrier's default.
    async fn send(&self, message: &message::Model) -> Result<(), SendError>;

    /// Polls the delivery report of a submitted message.
    async fn report(&self, message: &message::Model) -> Report;

    /// Returns whether a message is delivered only once if it is submitted twice. If this is false, a message whose
    /// submission was interrupted becomes UNKNOWN.
    fn may_repeat(&self) -> bool;
}

/// The carriers of this server by channel. TEST messages always go to the sandbox.
#[derive(Clone)]
pub struct Carriers {
    live: HashMap<Channel, Arc<dyn Carrier>>,
    sandbox: Arc<dyn Carrier>,
}

impl Carriers {
    /// Creates a set without carriers for LIVE messages. LIVE messages are then refused with `CHANNEL_UNAVAILABLE`.
    pub fn none() -> Self {
        Self { live: HashMap::new(), sandbox: Arc::new(Sandbox) }
    }

    /// Creates a set in which the same carrier delivers the LIVE messages of every channel.
    pub fn all(carrier: &Arc<dyn Carrier>) -> Self {
        let channels = [Channel::Sms, Channel::Email, Channel::Whatsapp, Channel::Telegram];
        let live = channels.into_iter().map(|channel| (channel, Arc::clone(carrier))).collect();
        Self { live, sandbox: Arc::new(Sandbox) }
    }

    /// Returns whether LIVE messages can be sent on this channel.
    pub fn has(&self, channel: Channel) -> bool {
        self.live.contains_key(&channel)
    }

    /// Returns the carrier for this message. `None` if the message was accepted before the server was restarted without
    /// the carrier.
    pub fn of(&self, message: &message::Model) -> Option<&Arc<dyn Carrier>> {
        match message.environment {
            Environment::Test => Some(&self.sandbox),
            Environment::Live => self.live.get(&message.channel),
        }
    }
}
