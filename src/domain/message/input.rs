//! The input of a send, before any check. It has its own module, because both the checks and the resolution of contacts
//! and templates use it.

use entity::message::Channel;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::channel::schedule::Schedule;

/// The unchecked input of one message.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// The recipient; must not be set together with `contact_id`.
    pub to: Option<String>,
    /// The id of the contact; the nil UUID if the id was malformed. The nil UUID is treated like an unknown id.
    pub contact_id: Option<Uuid>,
    pub channel: Option<Channel>,
    /// The content; must not be set together with `template_id`.
    pub text: Option<String>,
    pub subject: Option<String>,
    pub html: Option<String>,
    /// The id of the template; the nil UUID if the id was malformed.
    pub template_id: Option<Uuid>,
    pub variables: Option<Map<String, Value>>,
    /// The id of the sender. `None` means the account's default sender. The nil UUID is used if the id was malformed.
    pub sender_id: Option<Uuid>,
    pub metadata: Option<Map<String, Value>>,
    pub schedule: Schedule,
    pub idempotency_key: Option<String>,
}
