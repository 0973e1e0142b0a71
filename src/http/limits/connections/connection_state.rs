//! The state of a connection, updated by its reads, writes and requests: which phase it is in, and how many
//! bytes of an unfinished head or WebSocket message it holds.

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

/// Maximum time to receive a request's head, from its first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time for a client to receive a response that does not fit into the system's buffers.
pub const WRITE_TIMEOUT: Duration = Duration::from_mins(1);
/// Maximum time between requests. It is longer than the idle timeout of common proxies, so that the proxy closes
/// the connection first and never sends a request on one that is being closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Heads and WebSocket messages of up to this many bytes fit into a connection's own buffer, and are not
/// counted.
pub const SMALL_BYTES: usize = 8 * 1024;

/// Bytes of a client's control frame before its payload: a header of two bytes and the mask.
const CONTROL_HEADER_BYTES: usize = 6;

#[derive(Default)]
pub struct ConnectionState {
    requests_begun: AtomicU64,
    requests_answered: AtomicU64,
    /// Bytes of the next request's head that were read.
    pub(super) head_bytes: AtomicUsize,
    /// Whether the client does not read the data that is sent to it.
    pub(super) is_write_blocked: AtomicBool,
    /// Whether the quota has no bytes left for the next request's head.
    pub(super) is_head_refused: AtomicBool,
    /// Whether a part of the request was not read.
    pub(super) has_unread_input: AtomicBool,
    is_websocket: AtomicBool,
    /// Bytes of the current WebSocket message that were read, without control frames.
    pub(super) message_bytes: AtomicUsize,
    /// The team of a WebSocket, once it is known; `None` for an operator.
    pub(super) team: OnceLock<Option<Uuid>>,
    /// Held for a large WebSocket message until its buffer is freed.
    message: Mutex<Option<Permit<Uuid>>>,
}

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// The next request.
    #[default]
    Idle,
    /// The remainder of a request's head.
    Head,
    /// The response, which has its own deadlines.
    Handler,
    /// The client, which must read the data that is sent to it.
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
    /// Notes that a request's head was read. Returns whether it was large.
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

    /// Whether the connection waits for a request or for the remainder of its head.
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

    /// Notes that the WebSocket has received a control frame with this many bytes of payload. Control frames may
    /// arrive between the frames of a message, so only their own bytes are subtracted.
    pub fn note_control_frame(&self, payload: usize) {
        let bytes = payload + CONTROL_HEADER_BYTES;
        let without_frame = |held: usize| Some(held.saturating_sub(bytes));
        let _ = self.message_bytes.fetch_update(Relaxed, Relaxed, without_frame);
    }

    pub(super) fn message(&self) -> MutexGuard<'_, Option<Permit<Uuid>>> {
        self.message.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a permit is held for a large message.
    pub fn holds_message(&self) -> bool {
        self.message().is_some()
    }

    /// Releases the permit of a large message whose buffer was freed, and returns true; does nothing if the next
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
