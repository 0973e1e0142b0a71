//! What a client says on a socket, and how a socket is closed, as `graphql-transport-ws` has them.

use axum::extract::ws::{Message, close_code};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::json;

/// Characters of an operation's id at most.
pub const ID_CHARS_MAX: usize = 128;

/// Why a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close(pub u16, pub &'static str);

const BAD_MESSAGE: Close = Close(4400, "Invalid message received");
pub const UNAUTHORIZED: Close = Close(4401, "Unauthorized");
pub const FORBIDDEN: Close = Close(4403, "Forbidden");
pub const INIT_TIMEOUT: Close = Close(4408, "Connection initialisation timeout");
pub const ID_TAKEN: Close = Close(4409, "Subscriber for this id already exists");
pub const SECOND_INIT: Close = Close(4429, "Too many initialisation requests");
pub const GOING_AWAY: Close = Close(close_code::AWAY, "The server stops");
pub const TOO_LARGE: Close = Close(close_code::SIZE, "The message is too large");
pub const TOO_MANY_CONTROLS: Close = Close(close_code::POLICY, "Too many control messages");
const NO_PROTOCOL: Close = Close(close_code::PROTOCOL, "Not the WebSocket protocol");
const NO_TEXT: Close = Close(close_code::INVALID, "The message is not UTF-8");
pub const TRY_AGAIN: Close = Close(close_code::AGAIN, "Try again later");
pub const REPLACED: Close = Close(close_code::AGAIN, "Too many sockets wait for their keys");
pub const TOO_SLOW: Close =
    Close(close_code::AGAIN, "The client does not take its messages in time");
const TEAM_HOLDS_TOO_MUCH: Close =
    Close(close_code::AGAIN, "The messages of this team's sockets hold too much memory");
pub const OVER_RATE: Close = Close(close_code::AGAIN, "The rate limit is reached");

/// The client has closed the socket. The answer to that is the library's, and has the client's code.
pub const ANSWERED: Close = Close(1005, "");

/// A message of the client.
#[derive(Debug)]
pub enum Incoming {
    Init(Map<String, Value>),
    Ping,
    Subscribe { id: String, payload: Map<String, Value> },
    Complete(String),
}

/// How a socket is closed after a fault, as `tungstenite` words it; `None` where the client has gone.
fn close_for(fault: &str) -> Option<Close> {
    // The library's bound of a message, or that of one without a key, or of all of a team (`connections::key_monitor`).
    if fault.contains("too long") || fault.contains("file too large") {
        Some(TOO_LARGE)
    } else if fault.contains("quota exceeded") {
        Some(TEAM_HOLDS_TOO_MUCH)
    } else if fault.starts_with("UTF-8") {
        Some(NO_TEXT)
    } else if fault.starts_with("WebSocket protocol error") && !fault.contains("reset") {
        Some(NO_PROTOCOL)
    } else {
        None
    }
}

/// The bytes of a text message; others are small, or end the socket.
pub fn text_bytes(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        _ => 0,
    }
}

/// The same of what was received.
pub fn received_bytes(received: Option<&Result<Message, axum::Error>>) -> usize {
    received.and_then(|received| received.as_ref().ok()).map_or(0, text_bytes)
}

/// The id of a message that begins an operation. What else it holds is checked, and not kept.
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

/// Reads what was received: `None` for what needs no answer, an error where the socket is to be closed.
pub fn read(
    received: Option<Result<Message, axum::Error>>,
) -> Result<Option<Incoming>, Option<Close>> {
    let text = match received {
        Some(Ok(Message::Text(text))) => text,
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(None),
        Some(Ok(Message::Binary(_))) => return Err(Some(BAD_MESSAGE)),
        Some(Ok(Message::Close(_))) => return Err(Some(ANSWERED)),
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
    fn a_message_that_is_not_parsed_has_an_id_where_it_begins_an_operation() {
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
