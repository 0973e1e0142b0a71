//! The first phase of a WebSocket: the client sends its key in `connection_init` and is authenticated.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::extract::ws::{Message, WebSocket};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    limits::{Admitted, ControlFrames},
    message::{
        Close, FORBIDDEN, GOING_AWAY, INIT_TIMEOUT, Incoming, REPLACED, SEND_TIMEOUT, TOO_LARGE,
        TOO_MANY_CONTROLS, TRY_AGAIN, UNAUTHORIZED, read, received_bytes, text,
    },
};
use crate::{
    domain::{api_key, caller::Caller},
    graphql::errors::{Code, code_of},
    http::{
        caller::{bearer_in, identify_from},
        execution::REQUEST_DEADLINE,
        limits::connections::ConnectionState,
        state::SharedState,
    },
    limits::quota::Permit,
};

/// Maximum time until `connection_init` arrives.
pub const INIT_DEADLINE: Duration = Duration::from_secs(3);
/// Maximum size of a message that a client sends before its key is known, in bytes.
pub const INIT_BYTES_MAX: usize = 16 * 1024;

/// The data for a WebSocket that the upgrade request contains.
pub struct Opening {
    /// The key in the header. It is used if `connection_init` contains no key.
    pub key: Option<String>,
    /// The team of the key in the header. It is `None` if there is no key, and `Some(None)` for an operator.
    pub team: Option<Option<Uuid>>,
    pub peer: IpAddr,
    pub connection: Arc<ConnectionState>,
    pub request_id: String,
}

/// Waits for the client's key and authenticates it. Returns the caller, a token that is canceled when the key becomes
/// invalid, and the team's permit for the WebSocket. On failure, returns how to close the WebSocket, or `None` if the
/// client has disconnected.
pub async fn authenticate(
    shared: &SharedState,
    socket: &mut WebSocket,
    opening: &Opening,
    mut admitted: Admitted,
    controls: &ControlFrames,
) -> Result<(Caller, Arc<CancellationToken>, Permit<Uuid>), Option<Close>> {
    let until = Instant::now() + INIT_DEADLINE;
    let payload = loop {
        let received = tokio::select! {
            received = timeout_at(until, socket.recv()) => received,
            () = shared.stop.cancelled() => return Err(Some(GOING_AWAY)),
            () = admitted.replaced() => return Err(Some(REPLACED)),
        };
        let received = received.map_err(|_| Some(INIT_TIMEOUT))?;
        note_received(&opening.connection, received.as_ref());
        if received_bytes(received.as_ref()) > INIT_BYTES_MAX {
            return Err(Some(TOO_LARGE));
        }
        let incoming = read(received)?;
        if !matches!(incoming, Some(Incoming::Init(_))) && controls.check().is_err() {
            return Err(Some(TOO_MANY_CONTROLS));
        }
        match incoming {
            // No operation is running yet, so there is none that `complete` could end.
            None | Some(Incoming::Complete(_)) => {}
            Some(Incoming::Init(payload)) => break payload,
            Some(Incoming::Ping) => {
                let pong = socket.send(text(&json!({ "type": "pong" })));
                timeout_at(until, pong).await.map_err(|_| None)?.map_err(|_| None)?;
            }
            Some(Incoming::Subscribe { .. }) => return Err(Some(UNAUTHORIZED)),
        }
    };
    admitted.note_key();
    let key = key_of(&payload, opening);
    drop(payload);
    let authenticated = async {
        let caller = identify_from(shared, opening.peer, key.as_deref()).await;
        let caller = caller.map_err(|refused| match code_of(&refused) {
            Some(Code::Unavailable | Code::RateLimited) => TRY_AGAIN,
            _ => FORBIDDEN,
        })?;
        shared.rates.charge(&caller, 1).map_err(|_| TRY_AGAIN)?;
        drop(admitted);
        opening.connection.note_team(caller.team_scope());
        let permit = shared.sockets.team_permit(caller.team_scope()).ok_or(TRY_AGAIN)?;
        match api_key::revocation_monitor::watch(&shared.app, &caller).await {
            Ok(ended) => ended.map(|ended| (caller, ended, permit)).ok_or(FORBIDDEN),
            Err(fault) => {
                tracing::error!(%fault, "The API key of a WebSocket could not be looked up");
                Err(TRY_AGAIN)
            }
        }
    };
    let until = Instant::now() + REQUEST_DEADLINE;
    let authenticated = timeout_at(until, authenticated).await.unwrap_or(Err(TRY_AGAIN));
    let authenticated = authenticated.map_err(Some)?;
    let ack = socket.send(text(&json!({ "type": "connection_ack" })));
    timeout(SEND_TIMEOUT, ack).await.map_err(|_| None)?.map_err(|_| None)?;
    Ok(authenticated)
}

/// Returns the key in `connection_init`, or otherwise the key in the upgrade request.
fn key_of(payload: &Map<String, Value>, opening: &Opening) -> Option<String> {
    let member = |name: &str| payload.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let key = match (member("authorization"), member("apiKey")) {
        (Some((_, Value::String(given))), _) => bearer_in(given),
        (None, Some((_, Value::String(given)))) => Some(given.trim()),
        (None, None) => opening.key.as_deref(),
        _ => None,
    };
    key.map(str::to_owned)
}

/// Updates the number of received bytes of an unfinished message.
pub fn note_received(
    connection: &ConnectionState,
    received: Option<&Result<Message, axum::Error>>,
) {
    match received {
        Some(Ok(Message::Text(_) | Message::Binary(_))) => connection.note_message(),
        Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => {
            connection.note_control_frame(payload.len());
        }
        _ => {}
    }
}
