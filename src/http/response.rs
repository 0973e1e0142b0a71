//! What goes back: data or errors, in the media type that the caller likes best, with the status and the
//! headers that belong to its code.

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
    http::{HeaderName, HeaderValue, StatusCode, header},
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

/// What is said to whom there is no place for.
pub const TOO_BUSY: &str = "The server is too busy; nothing was done. Try again in a second.";

/// Answers of more bytes, as their texts were counted, are written by a thread of their own, one at a time: a runtime's
/// thread would serve nobody else meanwhile, and an allocator keeps what each thread has freed.
const WRITTEN_AT_ONCE_MAX: usize = 256 * 1024;
/// An answer is written in pieces of so many bytes, which are given back one by one as they are sent.
const PIECE_BYTES: usize = 64 * 1024;

type Job = Box<dyn FnOnce() + Send>;

static WRITER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (jobs, todo) = mpsc::channel::<Job>();
    let work = move || todo.into_iter().for_each(|job| job());
    let started = thread::Builder::new().name("answers".to_owned()).spawn(work);
    started.expect("a thread can be started");
    jobs
});

/// An answer as JSON, in pieces.
#[derive(Default)]
pub struct Written {
    full: VecDeque<Bytes>,
    last: Vec<u8>,
    bytes: usize,
}

impl io::Write for Written {
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

impl Written {
    fn of(answer: &impl Serialize) -> Self {
        let mut written = Self::default();
        serde_json::to_writer(&mut written, answer).expect("an answer is plain JSON");
        let last = std::mem::take(&mut written.last);
        if !last.is_empty() {
            written.full.push_back(last.into());
        }
        written
    }

    /// All of it in one piece.
    pub fn into_text(self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.bytes);
        self.full.iter().for_each(|piece| text.extend_from_slice(piece));
        text
    }
}

/// Writes an answer as JSON. From then on `reservation` holds what that takes; the error is that there is none for it. What a
/// mutation did is always answered.
pub async fn write<T: Serialize + Send + 'static>(
    answer: T,
    kind: OperationType,
    reservation: &Reservation,
) -> Result<Written, Fault> {
    let written = if reservation.bytes() > WRITTEN_AT_ONCE_MAX {
        let (done, written) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody waits for it any more if this fails.
            let _ = done.send(Written::of(&answer));
        });
        WRITER.send(job).map_err(|_| Fault::Broken("answers are written"))?;
        written.await.map_err(|_| Fault::Broken("an answer is written"))?
    } else {
        Written::of(&answer)
    };
    settle(reservation, kind, written.bytes).map(|()| written)
}

fn settle(reservation: &Reservation, kind: OperationType, bytes: usize) -> Result<(), Fault> {
    match reservation.settle(bytes) {
        Err(fault) if kind != OperationType::Mutation => Err(fault),
        _ => Ok(()),
    }
}

/// The answer to a request that was read. It keeps its room until the client has taken it.
pub async fn respond(
    media_type: MediaType,
    answer: Answer,
    kind: OperationType,
    reservation: Arc<Reservation>,
    request_id: &str,
) -> Response {
    match answer {
        Answer::Executed(response) => {
            let body = if reservation.bytes() > WRITTEN_AT_ONCE_MAX {
                write(response, kind, &reservation).await.map(Body::new)
            } else {
                let body = GraphQLResponse::from(response).into_response().into_body();
                let bytes = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
                settle(&reservation, kind, bytes.unwrap_or(usize::MAX)).map(|()| body)
            };
            match body {
                Ok(body) => {
                    let body = Body::new(Held { body, _room: reservation });
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
                // A well-formed request is 200 to clients that know no other status for one.
                *response.status_mut() = StatusCode::OK;
            }
            response
        }
    }
}

impl HttpBody for Written {
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

/// An answer on its way, and what it takes of the room of all.
struct Held {
    body: Body,
    _room: Arc<Reservation>,
}

impl HttpBody for Held {
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

/// The status of a response without data whose first error has this code.
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
