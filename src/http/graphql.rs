//! `/graphql`: authenticates the caller, receives the body, waits for a request permit, parses, charges the rate limits
//! and executes, in this order. This order has two effects: a request with an unknown key or an unfinished body never
//! occupies a permit, and a waiting request needs memory only for raw bytes and not for a parsed document.

use std::sync::Arc;

use async_graphql::{ServerError, parser::types::OperationType};
use axum::{
    body::Body,
    extract::{FromRequestParts as _, Request, State, ws::WebSocketUpgrade},
    http::{HeaderValue, Method, header, request::Parts},
    response::Response,
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    body::Received,
    caller::{DATABASE_UNREACHABLE, bearer, client_address, identify, request_id},
    execution::{REQUEST_DEADLINE, run},
    limits::{connections::ConnectionState, processor_time::Meter, rate::cost_of_bytes},
    negotiation::{MediaType, is_json, negotiate},
    request::{BODY_BYTES_MAX, read_body, read_query},
    response::{TOO_BUSY, refuse, refuse_all, respond},
    state::SharedState,
    websocket::{self, handshake::Opening},
};
use crate::{
    domain::caller::Caller,
    graphql::{
        Answer,
        errors::{self, Code, error, first_code},
    },
};

/// Handles requests with any method: GET for queries and WebSocket upgrades, POST for queries and mutations.
pub async fn execute(State(shared): State<SharedState>, request: Request) -> Response {
    let started = Instant::now();
    let (mut head, body) = request.into_parts();
    let media_type = negotiate(&head.headers);
    let key = bearer(&head.headers).map(str::to_owned);
    // A server may ignore an upgrade to another protocol (RFC 9110, section 7.8).
    let upgrade_to = head.headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
    let is_websocket = upgrade_to.is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
    if is_websocket && key.is_none() {
        // The client sends its key in the first message.
        return upgrade(shared, &mut head, None, None).await;
    }
    let (mut operation, mut kind) = ("none", OperationType::Query);
    let (mut remaining, mut socket_team) = (None, None);
    let mut reservation = Arc::new(shared.app.memory_budget.of(None));
    let until = started + REQUEST_DEADLINE;
    let answer = async {
        let caller = timeout_at(until, identify(&shared, &head, key.as_deref())).await;
        let caller = caller.map_err(|_| errors::unavailable(DATABASE_UNREACHABLE))??;
        let rates = &shared.rates;
        if is_websocket {
            rates.charge_into(&caller, 1, &mut remaining)?;
            socket_team = Some(caller.team_scope());
            return Ok(None);
        }
        let received = receive(&shared, &caller, &head, body, media_type, until).await;
        let bytes = match &received {
            Ok(Some(body)) => body.len(),
            Ok(None) => head.uri.query().map_or(0, str::len),
            Err(_) => 0,
        };
        if let Err(limited) = rates.charge_into(&caller, 1 + cost_of_bytes(bytes), &mut remaining) {
            shared.request_permits.delay_refusal().await;
            return Err(limited);
        }
        let received = received?;
        let permit = shared.request_permits.acquire(caller.team_scope()).await;
        let permit = permit.ok_or_else(|| errors::unavailable(TOO_BUSY))?;
        let request = match received {
            Some(body) => read_body(&body)?,
            None => read_query(&head.uri)?,
        };
        let mut meter = Meter::new(&shared.rates, &caller);
        let prepared = shared.executor.prepare(caller.clone(), request);
        let prepared = match meter.measure(prepared).await {
            Ok(prepared) => prepared,
            Err(refused) => return Ok(Some(Answer::refused(refused))),
        };
        drop(meter);
        (operation, kind) = (prepared.kind_name(), prepared.kind());
        // The minimum cost of 1 has already been charged.
        rates.charge_into(&caller, prepared.complexity().saturating_sub(1), &mut remaining)?;
        let gone = CancellationToken::new();
        // Cancels `gone` when axum drops this handler because the client has disconnected.
        let _cancel_on_drop = gone.clone().drop_guard();
        reservation = Arc::new(shared.app.memory_budget.of(caller.team_scope()));
        let reservation = Arc::clone(&reservation);
        let id = request_id(&head.headers);
        Ok(Some(run(&shared, prepared, permit, reservation, until, gone, id).await))
    };
    let media_type = media_type.unwrap_or_default();
    let (code, mut response) = match answer.await {
        Ok(None) => return upgrade(shared, &mut head, key, socket_team).await,
        Ok(Some(answer)) => {
            let code = first_code(answer.errors());
            let id = request_id(&head.headers).to_owned();
            (code, respond(media_type, answer, kind, reservation, &id).await)
        }
        Err(refused) => {
            let refused = [refused];
            (first_code(&refused), refuse_all(media_type, &refused))
        }
    };
    if let Some(remaining) = remaining {
        shared.rates.write_headers(remaining, response.headers_mut());
    }
    shared.app.metrics.note_request(operation, code, started.elapsed());
    response
}

/// Upgrades the request to a WebSocket. `team` is the team of the key in the header. It is `None` if there is no key,
/// and `Some(None)` for an operator.
async fn upgrade(
    shared: SharedState,
    head: &mut Parts,
    key: Option<String>,
    team: Option<Option<Uuid>>,
) -> Response {
    let peer = client_address(&shared, head);
    let request_id = request_id(&head.headers).to_owned();
    let connection = head.extensions.get::<Arc<ConnectionState>>();
    let connection = connection.map(Arc::clone).unwrap_or_default();
    if let Some(team_id) = team {
        connection.note_team(team_id);
    }
    match WebSocketUpgrade::from_request_parts(head, &()).await {
        Ok(upgrade) => {
            let opening = Opening { key, team, peer, connection, request_id };
            websocket::upgrade(shared, upgrade, opening)
        }
        Err(rejection) => {
            tracing::debug!(%rejection, "An upgrade request is not valid");
            let message = "The upgrade request is not valid (expected WebSocket version 13).";
            refuse(MediaType::Json, error(Code::BadUserInput, message))
        }
    }
}

/// Receives the body of a POST request. A GET request has no body.
async fn receive(
    shared: &SharedState,
    caller: &Caller,
    head: &Parts,
    body: Body,
    accepted: Option<MediaType>,
    until: Instant,
) -> Result<Option<Received>, ServerError> {
    if accepted.is_none() {
        let message = "The Accept header allows none of the supported media types \
                       (application/graphql-response+json, application/json).";
        return Err(error(Code::NotAcceptable, message));
    }
    match head.method {
        Method::GET => Ok(None),
        Method::POST if is_json(&head.headers) => {
            let (key_id, team_id) = (caller.key_id, caller.team_scope());
            let received = shared.bodies.receive(key_id, team_id, body, BODY_BYTES_MAX, until);
            received.await.map(Some)
        }
        Method::POST => {
            Err(error(Code::UnsupportedMediaType, "Send the request as application/json."))
        }
        _ => Err(error(Code::MethodNotAllowed, "Send GraphQL requests with GET or POST.")),
    }
}
