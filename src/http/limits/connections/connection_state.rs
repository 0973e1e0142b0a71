//! The state of a connection: its phase, and the number of buffered bytes of an unfinished head or WebSocket message.
//! The connection's reads, writes and requests update the state.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::http::StatusCode;
use uuid::Uuid;

use crate::limits::quota::Permit;

/// Maximum time to receive a request's head, counted from the head's first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for a client to receive a response that does not fit into the system's buffers.
pub const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum time between requests. It is longer than the idle timeout of common proxies, so that the proxy closes the
/// connection first. A proxy then never sends a request on a connection that the server is closing.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Maximum size of the heads and WebSocket messages that are not counted, in bytes. They fit into a connection's own
/// buffer.
pub const SMALL_BYTES: usize = 8 * 1024;

/// Number of bytes before the payload of a client's control frame: a header of two bytes and the mask.
const CONTROL_HEADER_BYTES: usize = 6;

#[derive(Default)]
pub struct ConnectionState {
    requests_begun: AtomicU64,
    requests_answered: AtomicU64,
    /// Number of bytes of the next request's head that have been read.
    pub(super) head_bytes: AtomicUsize,
    /// Whether the client does not read the data that is sent to it.
    pub(super) is_write_blocked: AtomicBool,
    /// Whether the quota has no bytes left for the next request's head.
    pub(super) is_head_refused: AtomicBool,
    /// Whether a part of the request has not been read.
    pub(super) has_unread_input: AtomicBool,
    is_websocket: AtomicBool,
    /// Number of bytes of the current WebSocket message that have been read, without control frames.
    pub(super) message_bytes: AtomicUsize,
    /// The team of the WebSocket, once the team is known; `None` for an operator.
    pub(super) team: OnceLock<Option<Uuid>>,
    /// Permit for the bytes of a large WebSocket message, held until the message's buffer is freed.
    message: Mutex<Option<Permit<Uuid>>>,
}

/// The phase of a connection. Each phase waits for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// Waits for the next request.
    #[default]
    Idle,
    /// Waits for the remainder of a request's head.
    Head,
    /// Waits for the response. Handlers have their own deadlines.
    Handler,
    /// Waits until the client reads the data that is sent to it.
    Write,
}

impl Phase {
    pub fn timeout(self) -> Duration {
        match self {
            Self::Idle => IDLE_TIMEOUT,
            Self::Head => HEAD_TIMEOUT,
            Self::Handler => Duration::MAX,
            Self::Write => WRITE_TIMEOUT,
        }
    }
}

impl ConnectionState {
    /// Notes that a request's head has been read. Returns whether the head was large.
    pub(super) fn begin_request(&self) -> bool {
        self.requests_begun.fetch_add(1, Relaxed);
        self.has_unread_input.store(false, Relaxed);
        self.head_bytes.swap(0, Relaxed) > SMALL_BYTES
    }

    /// Notes that a request has a response.
    pub(super) fn end_request(&self, status: StatusCode) {
        self.requests_answered.fetch_add(1, Relaxed);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.is_websocket.store(true, Relaxed);
        }
    }

    pub(super) fn requests_begun(&self) -> u64 {
        self.requests_begun.load(Relaxed)
    }

    pub(super) fn is_websocket(&self) -> bool {
        self.is_websocket.load(Relaxed)
    }

    /// Returns whether the connection waits for a request or for the remainder of its head.
    pub(super) fn is_before_request(&self) -> bool {
        self.requests_begun() == self.requests_answered.load(Relaxed)
    }

    pub(super) fn phase(&self) -> Phase {
        if self.is_write_blocked.load(Relaxed) {
            Phase::Write
        } else if !self.is_before_request() {
            Phase::Handler
        } else if self.head_bytes.load(Relaxed) > 0 {
            Phase::Head
        } else {
            Phase::Idle
        }
    }

    /// Notes that the WebSocket has received a complete message.
    pub fn note_message(&self) {
        self.message_bytes.store(0, Relaxed);
    }

    /// Notes that the WebSocket has received a control frame with this many bytes of payload. Control frames may arrive
    /// between the frames of a message, so only the bytes of the control frame are subtracted.
    pub fn note_control_frame(&self, payload: usize) {
        let bytes = payload + CONTROL_HEADER_BYTES;
        let without_frame = |held: usize| Some(held.saturating_sub(bytes));
        let _ = self.message_bytes.fetch_update(Relaxed, Relaxed, without_frame);
    }

    pub(super) fn message(&self) -> MutexGuard<'_, Option<Permit<Uuid>>> {
        self.message.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a permit is held for a large message.
    pub fn holds_message(&self) -> bool {
        self.message().is_some()
    }

    /// Releases the permit of a large message whose buffer has been freed, and returns true. Does nothing if the next
    /// message has begun and is large.
    pub fn release_message(&self) -> bool {
        let is_releasable = self.message_bytes.load(Relaxed) <= SMALL_BYTES;
        if is_releasable {
            *self.message() = None;
        }
        is_releasable
    }

    /// Notes the team of the WebSocket; an operator has none.
    pub fn note_team(&self, team_id: Option<Uuid>) {
        let _ = self.team.set(team_id);
    }
}
