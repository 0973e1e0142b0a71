//! `graphql-transport-ws` on `/graphql`: subscriptions, queries and mutations over one WebSocket. The protocol and
//! its close codes are those of the npm package graphql-ws (its `PROTOCOL.md`).
//!
//! A WebSocket has one key. The same checks apply to its operations as to HTTP requests: request permits, preparation
//! and rate limits. Each event of a subscription is also charged to the rate limits. The WebSocket is closed when its
//! key becomes invalid or its account is no longer ACTIVE.

use std::time::Duration;

use axum::{
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    response::Response,
};
use futures_util::SinkExt as _;
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tracing::{Instrument as _, Span};

use self::{
    handshake::{Opening, authenticate},
    limits::{Admitted, control_frames},
    message::{CLOSED_BY_CLIENT, Close},
    session::Session,
};
use super::{
    negotiation::MediaType,
    request::BODY_BYTES_MAX,
    response::{refuse, too_busy},
    state::SharedState,
};
use crate::graphql::errors::{Code, error};

pub mod handshake;
pub mod limits;
pub mod message;
pub mod operation;
pub mod session;
pub mod subscription_limits;

const SUBPROTOCOL: &str = "graphql-transport-ws";
/// Maximum time for a client to receive the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Size of a WebSocket's read buffer, in bytes. Every open WebSocket keeps one. The library's default size is 32 times
/// as large.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Upgrades the request, unless its subprotocol is not supported or too many WebSocket connections are open.
pub fn upgrade(shared: SharedState, upgrade: WebSocketUpgrade, opening: Opening) -> Response {
    let upgrade = upgrade.protocols([SUBPROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let message = "The WebSocket subprotocol is not valid (expected graphql-transport-ws).";
        return refuse(MediaType::Json, error(Code::BadUserInput, message));
    }
    let Some((permit, admitted)) = shared.sockets.open(opening.peer, opening.team) else {
        return too_busy(MediaType::Json);
    };
    let span = Span::current();
    upgrade
        .max_message_size(BODY_BYTES_MAX)
        .max_frame_size(BODY_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .on_upgrade(move |socket| serve(shared, socket, opening, permit, admitted).instrument(span))
}

async fn serve(
    shared: SharedState,
    mut socket: WebSocket,
    opening: Opening,
    _permit: OwnedSemaphorePermit,
    admitted: Admitted,
) {
    let sockets = shared.app.metrics.sockets.clone();
    sockets.inc();
    let controls = control_frames();
    let authenticated =
        Box::pin(authenticate(&shared, &mut socket, &opening, admitted, &controls)).await;
    let close = match authenticated {
        Ok((caller, key_ended, _team_permit)) => {
            let Opening { request_id, connection, .. } = opening;
            let session = Session::new(shared, caller, request_id, controls, connection);
            Box::pin(session.run(&mut socket, &key_ended)).await
        }
        Err(close) => close,
    };
    let close = async {
        match close {
            Some(CLOSED_BY_CLIENT) => socket.close().await,
            Some(Close(code, reason)) => {
                // Without this flush, the library would send a pending pong after the close frame.
                socket.flush().await?;
                let frame = CloseFrame { code, reason: reason.into() };
                socket.send(Message::Close(Some(frame))).await
            }
            None => Ok(()),
        }
    };
    // A failure only means that the client has disconnected.
    let _ = timeout(CLOSE_TIMEOUT, close).await;
    sockets.dec();
}
