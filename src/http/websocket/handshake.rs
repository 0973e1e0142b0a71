//! The beginning of a socket: the client says which key it goes by.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::extract::ws::{Message, WebSocket};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    SEND_DEADLINE,
    limits::{Admitted, ControlFrames},
    message::{
        Close, FORBIDDEN, GOING_AWAY, INIT_TIMEOUT, Incoming, REPLACED, TOO_LARGE,
        TOO_MANY_CONTROLS, TRY_AGAIN, UNAUTHORIZED, read, received_bytes,
    },
    text,
};
use crate::{
    domain::{api_key, caller::Caller},
    graphql::errors::{Code, code_of},
    http::{
        REQUEST_DEADLINE, SharedState,
        graphql::{bearer_in, identify_peer},
        limits::connections::Pace,
    },
    limits::quota::Permit,
};

/// How long a socket may take to say who it is.
pub const INIT_DEADLINE: Duration = Duration::from_secs(3);
/// Bytes of a client's message at most before its key is known.
pub const INIT_BYTES_MAX: usize = 16 * 1024;

/// What is known of a socket when it is opened.
pub struct Opening {
    /// The key of the request's header: it counts if the client names no other.
    pub key: Option<String>,
    /// The team of that key, if there is one.
    pub known: Option<Option<Uuid>>,
    pub peer: IpAddr,
    /// Of its connection.
    pub pace: Arc<Pace>,
    pub request_id: String,
}

/// Waits for the client to say who it is, and finds it a place. The token is cancelled when its key ends.
pub async fn greet(
    shared: &SharedState,
    socket: &mut WebSocket,
    opening: &Opening,
    mut admitted: Admitted,
    controls: &mut ControlFrames,
) -> Result<(Caller, Arc<CancellationToken>, Permit<Uuid>), Option<Close>> {
    let until = Instant::now() + INIT_DEADLINE;
    let payload = loop {
        let received = tokio::select! {
            received = timeout_at(until, socket.recv()) => received,
            () = shared.stop.cancelled() => return Err(Some(GOING_AWAY)),
            () = admitted.replaced() => return Err(Some(REPLACED)),
        };
        let received = received.map_err(|_| Some(INIT_TIMEOUT))?;
        note_received(&opening.pace, received.as_ref());
        if received_bytes(received.as_ref()) > INIT_BYTES_MAX {
            return Err(Some(TOO_LARGE));
        }
        let incoming = read(received)?;
        if !matches!(incoming, Some(Incoming::Init(_))) && !controls.take() {
            return Err(Some(TOO_MANY_CONTROLS));
        }
        match incoming {
            // What needs no answer, or ends what is not under way.
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
    let found = async {
        let caller = identify_peer(shared, opening.peer, key.as_deref()).await;
        let caller = caller.map_err(|refused| match code_of(&refused) {
            Some(Code::Unavailable | Code::RateLimited) => TRY_AGAIN,
            _ => FORBIDDEN,
        })?;
        shared.rates.charge(&caller, 1).map_err(|_| TRY_AGAIN)?;
        drop(admitted);
        opening.pace.note_team(caller.team_scope());
        let of_team = shared.sockets.of(caller.team_scope()).ok_or(TRY_AGAIN)?;
        match api_key::revocation_monitor::watch(&shared.app, &caller).await {
            Ok(ended) => ended.map(|ended| (caller, ended, of_team)).ok_or(FORBIDDEN),
            Err(fault) => {
                tracing::error!(%fault, "The key of a socket was not looked up");
                Err(TRY_AGAIN)
            }
        }
    };
    let until = Instant::now() + REQUEST_DEADLINE;
    let found = timeout_at(until, found).await.unwrap_or(Err(TRY_AGAIN)).map_err(Some)?;
    let ack = socket.send(text(&json!({ "type": "connection_ack" })));
    timeout(SEND_DEADLINE, ack).await.map_err(|_| None)?.map_err(|_| None)?;
    Ok(found)
}

/// The key that a client names, or else the one of its upgrade.
fn key_of(payload: &Map<String, Value>, opening: &Opening) -> Option<String> {
    let named = |name: &str| payload.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let key = match (named("authorization"), named("apiKey")) {
        (Some((_, Value::String(given))), _) => bearer_in(given),
        (None, Some((_, Value::String(given)))) => Some(given.trim()),
        (None, None) => opening.key.as_deref(),
        _ => None,
    };
    key.map(str::to_owned)
}

/// Notes what a socket received, so that the bytes of an unfinished message stay counted and no others.
pub fn note_received(pace: &Pace, received: Option<&Result<Message, axum::Error>>) {
    match received {
        Some(Ok(Message::Text(_) | Message::Binary(_))) => pace.note_message(),
        Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => {
            pace.note_control(payload.len());
        }
        _ => {}
    }
}
