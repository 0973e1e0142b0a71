//! What goes back: data or errors, in the media type that the caller likes best, with the status and the
//! headers that belong to its code.

use std::sync::Arc;

use async_graphql::{ServerError, parser::types::OperationType};
use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::negotiation::MediaType;
use crate::{
    domain::{Fault, room::Room},
    graphql::{
        Answer,
        errors::{self, Code, code_of, error},
    },
};

/// What is said to whom there is no place for.
pub const TOO_BUSY: &str = "The server is too busy; nothing was done. Try again in a second.";

/// Answers of more bytes, as their texts were counted, are written in a thread of their own, one at a time: a runtime's
/// thread would serve nobody else meanwhile.
const WRITTEN_AT_ONCE_MAX: usize = 256 * 1024;

/// The room that a short answer begins with.
const WRITTEN_AT_LEAST: usize = 512;

static WRITING: Semaphore = Semaphore::const_new(1);

/// Writes an answer as JSON. From then on `room` holds what that takes; the error is that there is none for it. What a
/// mutation did is always answered.
pub async fn write<T: Serialize + Send + 'static>(
    answer: T,
    kind: OperationType,
    room: &Room,
) -> Result<Vec<u8>, Fault> {
    // A vector that grows by doubling would take up to three times as much meanwhile.
    let counted = room.bytes();
    let write = move || {
        let mut text = Vec::with_capacity(counted.max(WRITTEN_AT_LEAST));
        serde_json::to_writer(&mut text, &answer).expect("an answer is plain JSON");
        drop(answer);
        text.shrink_to_fit();
        text
    };
    let text = if counted > WRITTEN_AT_ONCE_MAX {
        let _turn = WRITING.acquire().await.expect("it is never closed");
        spawn_blocking(write).await.map_err(|_| Fault::Broken("an answer is written"))?
    } else {
        write()
    };
    match room.settle(text.len()) {
        Err(fault) if kind != OperationType::Mutation => Err(fault),
        _ => Ok(text),
    }
}

/// The answer to a request that was read. It keeps its room until the client has taken it.
pub async fn respond(
    media_type: MediaType,
    answer: Answer,
    kind: OperationType,
    room: Arc<Room>,
    request_id: &str,
) -> Response {
    match answer {
        Answer::Executed(response) => match write(response, kind, &room).await {
            Ok(text) => {
                let body = Bytes::from_owner(Held { text, _room: room });
                with_type(media_type, Response::new(Body::from(body)))
            }
            Err(fault) => refuse(media_type, errors::of_fault(&fault, request_id)),
        },
        Answer::Refused(refused) => {
            let mut response = refuse_all(media_type, &refused);
            if refused.first().and_then(code_of) == Some(Code::MethodNotAllowed) {
                set(&mut response, header::ALLOW, "POST");
            } else if media_type == MediaType::Json && response.status() == StatusCode::BAD_REQUEST
            {
                // A well-formed request is 200 to clients that know no other status for one.
                *response.status_mut() = StatusCode::OK;
            }
            response
        }
    }
}

/// The text of an answer, and what it takes of the room of all.
struct Held {
    text: Vec<u8>,
    _room: Arc<Room>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

/// An answer without data, to a request that could not be read or was not looked at.
pub fn refuse(media_type: MediaType, refused: ServerError) -> Response {
    refuse_all(media_type, &[refused])
}

/// Refused before anything was done for it.
pub fn too_busy(media_type: MediaType) -> Response {
    refuse(media_type, errors::unavailable(TOO_BUSY))
}

/// What is served at no path.
pub fn nothing_here() -> Response {
    let refused = error(Code::BadUserInput, "Not found. GraphQL is at /graphql.");
    let mut response = refuse(MediaType::Json, refused);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// The same, for several reasons; the first decides the status.
pub fn refuse_all(media_type: MediaType, refused: &[ServerError]) -> Response {
    let body = serde_json::json!({ "errors": refused }).to_string();
    let mut response = with_type(media_type, body.into_response());
    let first = refused.first();
    *response.status_mut() = match first.and_then(code_of) {
        Some(Code::Unauthenticated) => {
            set(&mut response, header::WWW_AUTHENTICATE, "Bearer realm=\"tollgate\"");
            StatusCode::UNAUTHORIZED
        }
        Some(Code::MethodNotAllowed) => {
            set(&mut response, header::ALLOW, "GET, POST");
            StatusCode::METHOD_NOT_ALLOWED
        }
        Some(Code::Forbidden) => StatusCode::OK,
        Some(Code::NotAcceptable) => StatusCode::NOT_ACCEPTABLE,
        Some(Code::PayloadTooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(Code::UnsupportedMediaType) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some(Code::RateLimited) => StatusCode::TOO_MANY_REQUESTS,
        Some(Code::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        Some(Code::InternalServerError) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    if let Some(seconds) = first.and_then(errors::retry_after) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn with_type(media_type: MediaType, mut response: Response) -> Response {
    response.headers_mut().insert(header::CONTENT_TYPE, media_type.content_type());
    set(&mut response, header::VARY, "accept");
    set(&mut response, header::CACHE_CONTROL, "no-store");
    set(&mut response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn set(response: &mut Response, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}
