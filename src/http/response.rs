//! Builds HTTP responses: the negotiated media type, and the status and headers for an error code. The memory
//! reservation for a large response is kept until the client has received the response.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, LazyLock, mpsc},
    task::{Context, Poll},
    thread,
};

use async_graphql::{ServerError, parser::types::OperationType};
use async_graphql_axum::GraphQLResponse;
use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use http_body::{Frame, SizeHint};
use serde::Serialize;
use tokio::sync::oneshot;

use super::negotiation::MediaType;
use crate::{
    domain::Fault,
    graphql::{
        Answer,
        errors::{self, Code, code_of, error},
    },
    limits::memory_budget::Reservation,
};

pub const TOO_BUSY: &str = "The server is too busy; nothing was done. Try again in a second.";

/// Maximum reservation of a response that is serialized directly, in bytes. Larger responses are serialized by a
/// separate thread, one at a time, for two reasons: serializing them in a runtime thread would block it, and the
/// allocator keeps memory that each thread has freed.
const INLINE_BYTES_MAX: usize = 256 * 1024;
/// Size of the pieces in which large responses are serialized, in bytes. Each piece is freed as soon as it is sent.
const PIECE_BYTES: usize = 64 * 1024;

type Job = Box<dyn FnOnce() + Send>;

static SERIALIZER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    let run_jobs = move || jobs.into_iter().for_each(|job| job());
    let started = thread::Builder::new().name("responses".to_owned()).spawn(run_jobs);
    started.expect("a thread can be started");
    sender
});

/// A response that was serialized as JSON, in pieces.
#[derive(Default)]
pub struct JsonPieces {
    full: VecDeque<Bytes>,
    last: Vec<u8>,
    bytes: usize,
}

impl io::Write for JsonPieces {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.last.extend_from_slice(text);
        self.bytes += text.len();
        if self.last.len() >= PIECE_BYTES {
            let next = Vec::with_capacity(PIECE_BYTES);
            self.full.push_back(Bytes::from(std::mem::replace(&mut self.last, next)));
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl JsonPieces {
    fn of(response: &impl Serialize) -> Self {
        let mut pieces = Self::default();
        serde_json::to_writer(&mut pieces, response).expect("a response is plain JSON");
        let last = std::mem::take(&mut pieces.last);
        if !last.is_empty() {
            pieces.full.push_back(last.into());
        }
        pieces
    }

    /// Returns the whole JSON as one piece.
    pub fn into_text(self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.bytes);
        self.full.iter().for_each(|piece| text.extend_from_slice(piece));
        text
    }
}

/// Serializes a response as JSON, and changes `reservation` to the size of the JSON. Fails if the memory budget is
/// exhausted, unless the response is that of a mutation: the outcome of a mutation is always reported.
pub async fn serialize<T: Serialize + Send + 'static>(
    response: T,
    kind: OperationType,
    reservation: &Reservation,
) -> Result<JsonPieces, Fault> {
    let pieces = if reservation.bytes() > INLINE_BYTES_MAX {
        let (sender, pieces) = oneshot::channel();
        let job = Box::new(move || {
            // Sending fails if the request has been canceled in the meantime.
            let _ = sender.send(JsonPieces::of(&response));
        });
        SERIALIZER.send(job).map_err(|_| Fault::Broken("responses are serialized"))?;
        pieces.await.map_err(|_| Fault::Broken("a response is serialized"))?
    } else {
        JsonPieces::of(&response)
    };
    settle(reservation, kind, pieces.bytes).map(|()| pieces)
}

/// Changes the reservation to the size of the response.
fn settle(reservation: &Reservation, kind: OperationType, bytes: usize) -> Result<(), Fault> {
    match reservation.settle(bytes) {
        Err(fault) if kind != OperationType::Mutation => Err(fault),
        _ => Ok(()),
    }
}

/// Returns the response to a request that was read. The response keeps its reservation until the client has received
/// it.
pub async fn respond(
    media_type: MediaType,
    answer: Answer,
    kind: OperationType,
    reservation: Arc<Reservation>,
    request_id: &str,
) -> Response {
    match answer {
        Answer::Executed(response) => {
            let body = if reservation.bytes() > INLINE_BYTES_MAX {
                serialize(response, kind, &reservation).await.map(Body::new)
            } else {
                let body = GraphQLResponse::from(response).into_response().into_body();
                let bytes = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
                settle(&reservation, kind, bytes.unwrap_or(usize::MAX)).map(|()| body)
            };
            match body {
                Ok(body) => {
                    let body = Body::new(ReservedBody { body, _reservation: reservation });
                    with_type(media_type, Response::new(body))
                }
                Err(fault) => refuse(media_type, errors::of_fault(&fault, request_id)),
            }
        }
        Answer::Refused(refused) => {
            let mut response = refuse_all(media_type, &refused);
            if refused.first().and_then(code_of) == Some(Code::MethodNotAllowed) {
                set(&mut response, header::ALLOW, "POST");
            } else if media_type == MediaType::Json && response.status() == StatusCode::BAD_REQUEST
            {
                // With `application/json`, a well-formed request gets the status 200 (GraphQL over HTTP).
                *response.status_mut() = StatusCode::OK;
            }
            response
        }
    }
}

impl HttpBody for JsonPieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.full.pop_front();
        self.bytes -= piece.as_ref().map_or(0, Bytes::len);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.full.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes as u64)
    }
}

/// A response body that keeps its memory reservation until the body has been sent.
struct ReservedBody {
    body: Body,
    _reservation: Arc<Reservation>,
}

impl HttpBody for ReservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns a response with one error and without data.
pub fn refuse(media_type: MediaType, refused: ServerError) -> Response {
    refuse_all(media_type, &[refused])
}

pub fn too_busy(media_type: MediaType) -> Response {
    refuse(media_type, errors::unavailable(TOO_BUSY))
}

/// Returns the response for an unknown path.
pub async fn not_found(uri: Uri) -> Response {
    tracing::debug!(path = uri.path(), "Not found");
    let refused = error(Code::BadUserInput, "Not found. GraphQL is at /graphql.");
    let mut response = refuse(MediaType::Json, refused);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// Returns a response with errors and without data. The first error determines the status.
pub fn refuse_all(media_type: MediaType, refused: &[ServerError]) -> Response {
    let body = serde_json::json!({ "errors": refused }).to_string();
    let mut response = with_type(media_type, body.into_response());
    let first = refused.first();
    let code = first.and_then(code_of);
    *response.status_mut() = code.map_or(StatusCode::BAD_REQUEST, status_of);
    match code {
        Some(Code::Unauthenticated) => {
            set(&mut response, header::WWW_AUTHENTICATE, "Bearer realm=\"tollgate\"");
        }
        Some(Code::MethodNotAllowed) => set(&mut response, header::ALLOW, "GET, POST"),
        _ => {}
    }
    if let Some(seconds) = first.and_then(errors::retry_after) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Returns the status of a response that has no data and whose first error has this code.
pub fn status_of(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::Forbidden => StatusCode::OK,
        Code::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
        Code::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR,
        Code::BadUserInput
        | Code::GraphqlParseFailed
        | Code::GraphqlValidationFailed
        | Code::OperationResolutionFailure
        | Code::QueryTooLarge
        | Code::PersistedQueryNotFound => StatusCode::BAD_REQUEST,
    }
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
