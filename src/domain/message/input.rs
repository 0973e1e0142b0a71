//! A message as its sender gives it, before anything is looked up or checked.

use entity::message::Channel;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::domain::channel::schedule::Schedule;

/// A message as its sender gave it.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// The recipient, or else a contact.
    pub to: Option<String>,
    /// Nil where the id was malformed: it is looked for like one that nobody has.
    pub contact_id: Option<Uuid>,
    pub channel: Option<Channel>,
    /// Words, or else a template.
    pub text: Option<String>,
    pub subject: Option<String>,
    pub html: Option<String>,
    /// Nil where the id was malformed.
    pub template_id: Option<Uuid>,
    pub variables: Option<Map<String, Value>>,
    /// The account's default sender if `None`; nil where the id was malformed.
    pub sender_id: Option<Uuid>,
    pub metadata: Option<Map<String, Value>>,
    pub schedule: Schedule,
    pub idempotency_key: Option<String>,
}
