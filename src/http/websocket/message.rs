//! The messages and close codes of `graphql-transport-ws`.

use std::time::Duration;

use axum::extract::ws::{Message, close_code};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::json;

/// Maximum time for a client to receive a message.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of characters in an operation's id.
pub const ID_CHARS_MAX: usize = 128;

/// A close code and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close(pub u16, pub &'static str);

const BAD_MESSAGE: Close = Close(4400, "Invalid message received");
pub const UNAUTHORIZED: Close = Close(4401, "Unauthorized");
pub const FORBIDDEN: Close = Close(4403, "Forbidden");
pub const INIT_TIMEOUT: Close = Close(4408, "Connection initialisation timeout");
pub const ID_TAKEN: Close = Close(4409, "Subscriber for this id already exists");
pub const SECOND_INIT: Close = Close(4429, "Too many initialisation requests");
pub const GOING_AWAY: Close = Close(close_code::AWAY, "The server is shutting down");
pub const TOO_LARGE: Close = Close(close_code::SIZE, "The message is too large");
pub const TOO_MANY_CONTROLS: Close = Close(close_code::POLICY, "Too many control messages");
const PROTOCOL_ERROR: Close = Close(close_code::PROTOCOL, "WebSocket protocol error");
const INVALID_TEXT: Close = Close(close_code::INVALID, "The message is not UTF-8");
pub const TRY_AGAIN: Close = Close(close_code::AGAIN, "Try again later");
pub const REPLACED: Close =
    Close(close_code::AGAIN, "Too many unauthenticated WebSocket connections");
pub const TOO_SLOW: Close = Close(close_code::AGAIN, "The client receives its messages too slowly");
const TEAM_MEMORY_LIMIT: Close =
    Close(close_code::AGAIN, "This team's memory limit for WebSocket messages has been reached");
pub const OVER_RATE: Close = Close(close_code::AGAIN, "Rate limit exceeded");

/// The close code if the client has closed the WebSocket. The library then responds with the client's code.
pub const CLOSED_BY_CLIENT: Close = Close(1005, "");

/// A message from the client.
#[derive(Debug)]
pub enum Incoming {
    Init(Map<String, Value>),
    Ping,
    Subscribe { id: String, payload: Map<String, Value> },
    Complete(String),
}

/// Returns how to close the WebSocket after an error, or `None` if the client has disconnected. The kind of error is
/// recognized by the message of `tungstenite`.
fn close_for(error: &str) -> Option<Close> {
    // The message exceeds the library's size limit or a limit of `GuardedStream`.
    if error.contains("too long") || error.contains("file too large") {
        Some(TOO_LARGE)
    } else if error.contains("quota exceeded") {
        Some(TEAM_MEMORY_LIMIT)
    } else if error.starts_with("UTF-8") {
        Some(INVALID_TEXT)
    } else if error.starts_with("WebSocket protocol error") && !error.contains("reset") {
        Some(PROTOCOL_ERROR)
    } else {
        None
    }
}

pub fn text(message: &Value) -> Message {
    Message::Text(message.to_string().into())
}

/// Returns the size of a text message in bytes. Other messages are either small or close the WebSocket.
pub fn text_bytes(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        _ => 0,
    }
}

/// Returns the size of a received text message in bytes.
pub fn received_bytes(received: Option<&Result<Message, axum::Error>>) -> usize {
    received.and_then(|received| received.as_ref().ok()).map_or(0, text_bytes)
}

/// Returns the operation id in a message that starts an operation. The rest of the message is skipped without building
/// a tree.
pub fn subscribe_id(received: Option<&Result<Message, axum::Error>>) -> Option<String> {
    #[derive(Deserialize)]
    struct Subscribe {
        r#type: String,
        id: String,
    }
    let Some(Ok(Message::Text(text))) = received else { return None };
    let message: Subscribe = json::parse(text.as_bytes()).ok()?;
    let is_id = !message.id.is_empty() && message.id.chars().count() <= ID_CHARS_MAX;
    (message.r#type == "subscribe" && is_id).then_some(message.id)
}

/// Parses a received message. Returns `None` if the message needs no handling, and an error if the message closes the
/// WebSocket.
pub fn read(
    received: Option<Result<Message, axum::Error>>,
) -> Result<Option<Incoming>, Option<Close>> {
    let text = match received {
        Some(Ok(Message::Text(text))) => text,
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(None),
        Some(Ok(Message::Binary(_))) => return Err(Some(BAD_MESSAGE)),
        Some(Ok(Message::Close(_))) => return Err(Some(CLOSED_BY_CLIENT)),
        None => return Err(None),
        Some(Err(failure)) => return Err(close_for(&failure.to_string())),
    };
    let Ok(Value::Object(mut message)) = json::parse(text.as_bytes()) else {
        return Err(Some(BAD_MESSAGE));
    };
    let id = match message.remove("id") {
        Some(Value::String(id)) if !id.is_empty() && id.chars().count() <= ID_CHARS_MAX => Some(id),
        None => None,
        Some(_) => return Err(Some(BAD_MESSAGE)),
    };
    let payload = match message.remove("payload") {
        None | Some(Value::Null) => None,
        Some(Value::Object(payload)) => Some(payload),
        Some(_) => return Err(Some(BAD_MESSAGE)),
    };
    let kind = message.get("type").and_then(Value::as_str).unwrap_or_default();
    match (kind, id, payload) {
        ("connection_init", _, payload) => Ok(Some(Incoming::Init(payload.unwrap_or_default()))),
        ("ping", ..) => Ok(Some(Incoming::Ping)),
        ("pong", ..) => Ok(None),
        ("subscribe", Some(id), Some(payload)) => Ok(Some(Incoming::Subscribe { id, payload })),
        ("complete", Some(id), _) => Ok(Some(Incoming::Complete(id))),
        _ => Err(Some(BAD_MESSAGE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_unparsed_operation_is_found() {
        let longest = "x".repeat(ID_CHARS_MAX);
        let too_long = format!(r#"{{"type":"subscribe","id":"{longest}x","payload":{{}}}}"#);
        let long = format!(r#"{{"type":"subscribe","id":"{longest}","payload":{{}}}}"#);
        for (text, id) in [
            (r#"{"id":"a","type":"subscribe","payload":{"query":[1,2,{}]}}"#, Some("a")),
            (&*long, Some(&*longest)),
            (&*too_long, None),
            (r#"{"id":"","type":"subscribe"}"#, None),
            (r#"{"id":1,"type":"subscribe"}"#, None),
            (r#"{"type":"subscribe"}"#, None),
            (r#"{"id":"a","type":"complete"}"#, None),
            (r#"{"id":"a","id":"b","type":"subscribe"}"#, None),
            ("[]", None),
        ] {
            let found = subscribe_id(Some(&Ok(Message::Text(text.into()))));
            assert_eq!(found.as_deref(), id, "{text}");
        }
        assert_eq!(subscribe_id(None), None);
    }
}
