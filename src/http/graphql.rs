//! `POST /graphql`: key, then body, then execution.
//!
//! Why a task of its own: axum drops a handler when its client hangs up, and a future dropped while
//! it begins a transaction can leave the connection inside one (`db`). So execution runs in a task
//! that nobody drops; the handler only waits for it, and not longer than the deadline.

use std::time::Duration;

use async_graphql::{ServerError, Variables};
use async_graphql_axum::GraphQLResponse;
use axum::{
    Extension,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use tokio::time::Instant;

use super::{REQUEST_ID, Shared, admission::Place};
use crate::{
    domain::{Fault, Unavailable, authentication, billing::Patience},
    graphql::{
        Answer, Operation,
        errors::{self, Code, RETRY_AFTER_SECONDS, code_of, error},
        scalars::to_value,
    },
};

/// Bytes of a request's body at most.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a request may take: the key's look-up, the body's arrival and the execution together.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// What a send leaves of it, so that it can still say what is known.
const ANSWER_TIME: Duration = Duration::from_millis(500);
const MEDIA_TYPE: &str = "application/graphql-response+json; charset=utf-8";

pub async fn execute(
    State(shared): State<Shared>,
    Extension(place): Extension<Place>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let request_id = head.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let request_id = request_id.unwrap_or_default().to_owned();

    let until = Instant::now() + REQUEST_DEADLINE;
    let caller = match bearer(&head.headers) {
        Some(key) => {
            let caller = authentication::authenticate(&shared.app, key);
            let caller = tokio::time::timeout_at(until, caller).await;
            match caller.unwrap_or(Err(Unavailable::Silent.into())) {
                Ok(caller) => caller,
                Err(fault) => return no_key(&fault, &request_id),
            }
        }
        None => None,
    };
    let Some(caller) = caller else {
        return unauthenticated();
    };
    let Some(place) = place.of_team(caller.team_scope()).await else {
        return too_busy();
    };
    if !is_json(&head.headers) {
        let message = "Send the request as application/json.";
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            error(Code::UnsupportedMediaType, message),
        );
    }
    let operation = match tokio::time::timeout_at(until, read(body)).await {
        Ok(Ok(operation)) => operation,
        Ok(Err((status, refused))) => return refuse(status, refused),
        Err(_) => return unavailable("The body did not arrive in time; nothing was done."),
    };

    let api = shared.api.clone();
    let id = request_id.clone();
    let patience = Patience::until(until - ANSWER_TIME);
    // Dropped with this handler, when the client hangs up.
    let _present = patience.gone.clone().drop_guard();
    let execution = shared.executions.spawn(async move {
        // Kept for as long as it is worked on, also when the client has gone.
        let _place = place;
        api.execute(caller, operation, patience, &id).await
    });
    match tokio::time::timeout_at(until, execution).await {
        Ok(Ok(answer)) => respond(answer),
        Ok(Err(failure)) => {
            tracing::error!(request.id = request_id, %failure, "A request broke off");
            let message = errors::internal(&request_id);
            refuse(StatusCode::INTERNAL_SERVER_ERROR, error(Code::InternalServerError, message))
        }
        Err(_) => unavailable(
            "The request took too long; its outcome is not known. Send it again with the same \
             idempotency key.",
        ),
    }
}

/// Other methods than POST.
pub async fn method_not_allowed() -> Response {
    let message = "GraphQL is asked with POST.";
    let mut response =
        refuse(StatusCode::METHOD_NOT_ALLOWED, error(Code::MethodNotAllowed, message));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

/// An answer without data.
pub fn refuse(status: StatusCode, refused: ServerError) -> Response {
    refuse_all(status, &[refused])
}

fn refuse_all(status: StatusCode, refused: &[ServerError]) -> Response {
    let body = serde_json::json!({ "errors": refused }).to_string();
    (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
}

fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Executed(response) => {
            let mut response = GraphQLResponse::from(response).into_response();
            let media_type = HeaderValue::from_static(MEDIA_TYPE);
            response.headers_mut().insert(header::CONTENT_TYPE, media_type);
            response
        }
        Answer::Refused(refused) => {
            let code = refused.first().and_then(code_of);
            let is_forbidden = code == Some(Code::Forbidden.as_str());
            let status = if is_forbidden { StatusCode::OK } else { StatusCode::BAD_REQUEST };
            refuse_all(status, &refused)
        }
    }
}

fn unauthenticated() -> Response {
    let message = "Give a valid API key: Authorization: Bearer tg_live_…";
    let mut response = refuse(StatusCode::UNAUTHORIZED, error(Code::Unauthenticated, message));
    let challenge = HeaderValue::from_static("Bearer realm=\"tollgate\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

fn no_key(fault: &Fault, request_id: &str) -> Response {
    tracing::error!(request.id = request_id, %fault, "A key could not be looked up");
    unavailable("The database cannot be reached; try again.")
}

/// Refused before anything was done for it.
pub fn too_busy() -> Response {
    unavailable("The server is too busy; nothing was done. Try again in a second.")
}

/// Refused for now: nothing was done, or nobody knows.
fn unavailable(message: &str) -> Response {
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, errors::unavailable(message));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The key of `Authorization: Bearer …` (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let mut parts = media_type.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|found| found.eq_ignore_ascii_case("application/json"));
    let mut charsets = parts.filter_map(|part| part.split_once('='));
    is_json
        && charsets.all(|(name, value)| {
            !name.eq_ignore_ascii_case("charset")
                || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

async fn read(body: Body) -> Result<Operation, (StatusCode, ServerError)> {
    let Ok(bytes) = to_bytes(body, BODY_BYTES_MAX).await else {
        let message = "The body has more than 256 KiB, or broke off.";
        return Err((StatusCode::PAYLOAD_TOO_LARGE, error(Code::PayloadTooLarge, message)));
    };
    let bad = |message: &str| (StatusCode::BAD_REQUEST, error(Code::BadUserInput, message));
    let Ok(Value::Object(mut members)) = serde_json::from_slice(&bytes) else {
        return Err(bad("The body must be one JSON object with a query."));
    };
    let Some(Value::String(query)) = members.remove("query") else {
        return Err(bad("The member query must be a string."));
    };
    let operation_name = match members.remove("operationName") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(bad("The member operationName must be a string.")),
    };
    let variables = match members.remove("variables") {
        None | Some(Value::Null) => Variables::default(),
        Some(variables @ Value::Object(_)) => Variables::from_value(to_value(variables)),
        Some(_) => return Err(bad("The member variables must be an object.")),
    };
    if !matches!(members.remove("extensions"), None | Some(Value::Null | Value::Object(_))) {
        return Err(bad("The member extensions must be an object."));
    }
    Ok(Operation { query, operation_name, variables })
}
