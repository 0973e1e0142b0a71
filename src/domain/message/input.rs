//! The input of a send, before any check. It is in a module of its own because both the checks and the resolution use
//! it.

use entity::message::Channel;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::channel::schedule::Schedule;

/// The unchecked input of one message.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// The recipient; must not be set together with `contact_id`.
    pub to: Option<String>,
    /// The nil UUID if the id was malformed, which is then treated like an unknown one.
    pub contact_id: Option<Uuid>,
    pub channel: Option<Channel>,
    /// The content; must not be set together with `template_id`.
    pub text: Option<String>,
    pub subject: Option<String>,
    pub html: Option<String>,
    /// The nil UUID if the id was malformed.
    pub template_id: Option<Uuid>,
    pub variables: Option<Map<String, Value>>,
    /// `None` for the account's default sender; the nil UUID if the id was malformed.
    pub sender_id: Option<Uuid>,
    pub metadata: Option<Map<String, Value>>,
    pub schedule: Schedule,
    pub idempotency_key: Option<String>,
}
