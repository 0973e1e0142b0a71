//! `/graphql`: key, then body, then a place, then the request, then execution. What requests share is held by
//! none whose key is not known and whose body is not here, and those that wait hold bytes: they become trees
//! only in their place.
//!
//! Why a task of its own: axum drops a handler when its client hangs up, and a future dropped while
//! it begins a transaction can leave the connection inside one (`db`). So execution runs in a task
//! that nobody drops; the handler only waits for it, and not longer than the deadline.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_graphql::{ServerError, parser::types::OperationType};
use axum::{
    body::Body,
    extract::{ConnectInfo, FromRequestParts as _, Request, State, ws::WebSocketUpgrade},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    response::Response,
};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    SharedState,
    body::Received,
    limits::{
        admission::RequestPermit, connections::Pace, processor_time::Meter, rate::cost_of_bytes,
    },
    negotiation::{MediaType, is_json, negotiate},
    ops::log::REQUEST_ID,
    request::{BODY_BYTES_MAX, read_body, read_query},
    response::{TOO_BUSY, refuse, refuse_all, respond},
    websocket::{self, handshake::Opening},
};
use crate::{
    db::ReadBudget,
    domain::{
        api_key::{authentication, plain_key::PlainKey},
        caller::Caller,
        deadline::Deadline,
    },
    graphql::{
        Answer, Prepared,
        errors::{self, Code, error, first_code},
    },
    limits::memory_budget::Reservation,
};

/// How long a request may take: the key's look-up, the body's arrival and the execution together.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// What a send leaves of it, so that it can still say what is known.
const ANSWER_TIME: Duration = Duration::from_millis(500);
const NO_DATABASE: &str = "The database cannot be reached; try again.";

/// GET for queries and sockets, POST for queries and mutations.
pub async fn execute(State(shared): State<SharedState>, request: Request) -> Response {
    let begun = Instant::now();
    let (mut head, body) = request.into_parts();
    let media_type = negotiate(&head.headers);
    let key = bearer(&head.headers).map(str::to_owned);
    // Other protocols that a client would rather speak may be ignored (RFC 9110, section 7.8).
    let upgrade_to = head.headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
    let is_socket = upgrade_to.is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
    if is_socket && key.is_none() {
        // It says who it is once it is open.
        return upgrade(shared, &mut head, None, None).await;
    }
    let (mut operation, mut kind, mut left, mut socket) =
        ("none", OperationType::Query, None, None);
    let mut reservation = Arc::new(shared.app.memory_budget.of(None));
    let until = begun + REQUEST_DEADLINE;
    let answer = async {
        let caller = timeout_at(until, identify(&shared, &head, key.as_deref())).await;
        let caller = caller.map_err(|_| errors::unavailable(NO_DATABASE))??;
        let rates = &shared.rates;
        if is_socket {
            rates.pay(&caller, 1, &mut left)?;
            socket = Some(caller.team_scope());
            return Ok(None);
        }
        let received = receive(&shared, &caller, &head, body, media_type, until).await;
        let bytes = match &received {
            Ok(Some(body)) => body.len(),
            Ok(None) => head.uri.query().map_or(0, str::len),
            Err(_) => 0,
        };
        if let Err(over) = rates.pay(&caller, 1 + cost_of_bytes(bytes), &mut left) {
            shared.request_permits.refusal().await;
            return Err(over);
        }
        let received = received?;
        let permit = shared.request_permits.of(caller.team_scope()).await;
        let permit = permit.ok_or_else(|| errors::unavailable(TOO_BUSY))?;
        let asked = match received {
            Some(body) => read_body(&body)?,
            None => read_query(&head.uri)?,
        };
        let mut meter = Meter::new(&shared.rates, &caller);
        let prepared = match meter.measure(shared.api.prepare(caller.clone(), asked)).await {
            Ok(prepared) => prepared,
            Err(refused) => return Ok(Some(Answer::refused(refused))),
        };
        drop(meter);
        (operation, kind) = (prepared.kind_name(), prepared.kind());
        // One is paid.
        rates.pay(&caller, prepared.complexity().saturating_sub(1), &mut left)?;
        let gone = CancellationToken::new();
        // Dropped with this handler, when the client hangs up.
        let _present = gone.clone().drop_guard();
        reservation = Arc::new(shared.app.memory_budget.of(caller.team_scope()));
        let held = Arc::clone(&reservation);
        let id = request_id(&head.headers);
        Ok(Some(run(&shared, prepared, permit, held, until, gone, id).await))
    };
    let media_type = media_type.unwrap_or_default();
    let (code, mut response) = match answer.await {
        Ok(None) => return upgrade(shared, &mut head, key, socket).await,
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
    if let Some(left) = left {
        shared.rates.write(left, response.headers_mut());
    }
    shared.app.metrics.note_request(operation, code, begun.elapsed());
    response
}

/// Executes a query or a mutation in a task of its own, and waits for it until its deadline.
pub async fn run(
    shared: &SharedState,
    prepared: Prepared,
    permit: RequestPermit,
    reservation: Arc<Reservation>,
    until: Instant,
    gone: CancellationToken,
    request_id: &str,
) -> Answer {
    let api = shared.api.clone();
    let mut meter = Meter::new(&shared.rates, prepared.caller());
    let id = request_id.to_owned();
    // A change is not broken off in the middle.
    let may_be_broken_off = prepared.kind() == OperationType::Query;
    let budget = read_budget(shared, &prepared, may_be_broken_off.then(|| gone.clone()));
    let deadline = Deadline { gone, ..Deadline::until(until - ANSWER_TIME) };
    // Boxed, because tokio copies a task that begins and ends several times.
    let execution = Box::pin(async move {
        // Kept for as long as it is worked on, also when the client has gone.
        let _place = permit;
        meter.measure(api.execute(prepared, budget, deadline, reservation, &id)).await
    });
    let execution = shared.executions.spawn(execution.in_current_span());
    match timeout_at(until, execution).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(failure)) => {
            tracing::error!(request.id = request_id, %failure, "A request broke off");
            let message = errors::internal(request_id);
            Answer::Refused(vec![error(Code::InternalServerError, message)])
        }
        Err(_) => Answer::Refused(vec![errors::unavailable(
            "The request took too long; its outcome is not known. Send it again with the same \
             idempotency key.",
        )]),
    }
}

/// What a request may take of the readers; its caller is charged for their time.
pub fn read_budget(
    shared: &SharedState,
    prepared: &Prepared,
    gone: Option<CancellationToken>,
) -> ReadBudget {
    let (rates, caller) = (Arc::clone(&shared.rates), prepared.caller().clone());
    ReadBudget::new(move |time| rates.note_reading(&caller, time), gone)
}

/// The caller behind the key.
pub async fn identify(
    shared: &SharedState,
    head: &Parts,
    key: Option<&str>,
) -> Result<Caller, ServerError> {
    let mut given = head.headers.get_all(header::AUTHORIZATION).iter();
    if let (Some(first), second) = (given.next(), given.next()) {
        if second.is_some() {
            return Err(unauthenticated(TWO_HEADERS));
        }
        if key.is_none() {
            // Such as one that ends in the … of an example.
            let is_bearer = first
                .as_bytes()
                .get(..7)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
            return Err(unauthenticated(if is_bearer { MALFORMED_KEY } else { NO_BEARER }));
        }
    }
    identify_peer(shared, peer(shared, head), key).await
}

/// The same, of a known peer. A wrong key is refused otherwise if too many came from there; a right one never
/// is. Junk costs no look-up, and unknown keys are looked up many at a time.
pub async fn identify_peer(
    shared: &SharedState,
    peer: IpAddr,
    key: Option<&str>,
) -> Result<Caller, ServerError> {
    let key = key.ok_or_else(|| unauthenticated(NO_KEY))?;
    match authentication::authenticate(&shared.app, key).await {
        Ok(Some(caller)) => Ok(caller),
        Ok(None) if shared.peers.note_failure(peer) => {
            let is_whole = PlainKey::parse(key).is_some();
            Err(unauthenticated(if is_whole { UNKNOWN_KEY } else { MALFORMED_KEY }))
        }
        Ok(None) => {
            let message = "Too many wrong keys came from this address. Use a valid key.";
            Err(errors::try_again(Code::RateLimited, message, 1))
        }
        Err(fault) => {
            tracing::error!(%fault, "A key was not looked up");
            Err(errors::unavailable(NO_DATABASE))
        }
    }
}

// What a key looks like is no secret, so it may be told what is wrong with one; not whether a whole one ever existed.
const NO_KEY: &str =
    "The request has no API key. Send it in a header: Authorization: Bearer tg_live_…";
const NO_BEARER: &str = "The Authorization header is not valid (expected Bearer, a space and an API key, as in \
                         Authorization: Bearer tg_live_…).";
const TWO_HEADERS: &str = "The request has two Authorization headers. Send one.";
const MALFORMED_KEY: &str =
    "The API key is malformed. Copy the whole key as it was shown, without quotation marks.";
const UNKNOWN_KEY: &str =
    "The API key is not valid here: it was revoked, has expired, or belongs to another server.";

fn unauthenticated(message: &'static str) -> ServerError {
    error(Code::Unauthenticated, message)
}

/// Makes the request a socket. `known` is the team of a caller whose key is in the header; an operator has none.
async fn upgrade(
    shared: SharedState,
    head: &mut Parts,
    key: Option<String>,
    known: Option<Option<Uuid>>,
) -> Response {
    let peer = peer(&shared, head);
    let request_id = request_id(&head.headers).to_owned();
    let pace = head.extensions.get::<Arc<Pace>>().map(Arc::clone).unwrap_or_default();
    if let Some(team_id) = known {
        pace.note_team(team_id);
    }
    match WebSocketUpgrade::from_request_parts(head, &()).await {
        Ok(upgrade) => {
            websocket::upgrade(shared, upgrade, Opening { key, known, peer, pace, request_id })
        }
        Err(rejection) => {
            tracing::debug!(%rejection, "A request is no WebSocket");
            let message = "The request to upgrade is not one of WebSocket, version 13.";
            refuse(MediaType::Json, error(Code::BadUserInput, message))
        }
    }
}

fn peer(shared: &SharedState, head: &Parts) -> IpAddr {
    let connected = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|connected| connected.0);
    shared.peers.of(connected, &head.headers)
}

/// The request's id, which it has from `log`.
pub fn request_id(headers: &HeaderMap) -> &str {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}

/// Receives the body of a POST; a GET has none.
async fn receive(
    shared: &SharedState,
    caller: &Caller,
    head: &Parts,
    body: Body,
    accepted: Option<MediaType>,
    until: Instant,
) -> Result<Option<Received>, ServerError> {
    if accepted.is_none() {
        let message = "Answers come as application/graphql-response+json or application/json.";
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

/// The key of the header `Authorization`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    bearer_in(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// The key of `Bearer …` (RFC 6750, section 2.1).
pub fn bearer_in(credentials: &str) -> Option<&str> {
    let (scheme, key) = credentials.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
