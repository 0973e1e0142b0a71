//! What a connection is at, as its reads, its writes and its requests show it.

use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::http::StatusCode;
use uuid::Uuid;

use super::{ANSWER_DEADLINE, HEAD_DEADLINE, REST_DEADLINE};
use crate::limits::quota::Permit;

/// Bytes of a head, or of a socket's message, up to which a connection's own buffer holds them.
pub const SMALL_BYTES: usize = 8 * 1024;

/// Bytes of a client's control frame before its payload: two of the header, and the mask.
const CONTROL_HEADER_BYTES: usize = 6;

/// What a connection is at.
#[derive(Default)]
pub struct Pace {
    begun: AtomicU64,
    answered: AtomicU64,
    /// Bytes that were read of the next request's head.
    pub(super) head_bytes: AtomicUsize,
    pub(super) is_held_up: AtomicBool,
    /// Whether the next request's head is more than may be held.
    pub(super) is_refused: AtomicBool,
    /// Whether something of the request was left unread.
    pub(super) is_left: AtomicBool,
    is_socket: AtomicBool,
    /// Bytes that a socket read since the end of its last message, control frames aside.
    pub(super) message_bytes: AtomicUsize,
    /// The team of a socket, once it is known; an operator has none.
    pub(super) team: OnceLock<Option<Uuid>>,
    /// What a large message of the socket counts as, until its buffer is gone.
    message: Mutex<Option<Permit<Uuid>>>,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// The next request.
    #[default]
    Rest,
    /// The rest of a request's head.
    Head,
    /// Its answer, for which there are deadlines elsewhere.
    Work,
    /// That the client takes what it is sent.
    Answer,
}

impl Phase {
    pub fn deadline(self) -> Duration {
        match self {
            Self::Rest => REST_DEADLINE,
            Self::Head => HEAD_DEADLINE,
            Self::Work => Duration::MAX,
            Self::Answer => ANSWER_DEADLINE,
        }
    }
}

impl Pace {
    /// Notes that the head of a request is read; whether it was large.
    pub(super) fn begin(&self) -> bool {
        self.begun.fetch_add(1, Relaxed);
        self.is_left.store(false, Relaxed);
        self.head_bytes.swap(0, Relaxed) > SMALL_BYTES
    }

    /// Notes that a request is answered.
    pub(super) fn end(&self, status: StatusCode) {
        self.answered.fetch_add(1, Relaxed);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.is_socket.store(true, Relaxed);
        }
    }

    /// Requests that were begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    pub(super) fn is_socket(&self) -> bool {
        self.is_socket.load(Relaxed)
    }

    /// Whether the connection waits for a request, or for the rest of its head.
    pub(super) fn is_before_request(&self) -> bool {
        self.begun() == self.answered.load(Relaxed)
    }

    pub(super) fn phase(&self) -> Phase {
        if self.is_held_up.load(Relaxed) {
            Phase::Answer
        } else if !self.is_before_request() {
            Phase::Work
        } else if self.head_bytes.load(Relaxed) > 0 {
            Phase::Head
        } else {
            Phase::Rest
        }
    }

    /// Notes that the socket has received a whole message.
    pub fn note_message(&self) {
        self.message_bytes.store(0, Relaxed);
    }

    /// Notes that the socket has received a control frame with so many bytes of payload. It may come between the
    /// frames of a message, and ends none; its own bytes are held no longer.
    pub fn note_control(&self, payload: usize) {
        let bytes = payload + CONTROL_HEADER_BYTES;
        let less = |held: usize| Some(held.saturating_sub(bytes));
        let _ = self.message_bytes.fetch_update(Relaxed, Relaxed, less);
    }

    pub(super) fn message(&self) -> MutexGuard<'_, Option<Permit<Uuid>>> {
        self.message.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message of the socket counts, or did and was not given back.
    pub fn holds_message(&self) -> bool {
        self.message().is_some()
    }

    /// Gives back what a large message counted as, whose buffer is gone; not if the next one has begun and is large.
    pub fn give_back(&self) -> bool {
        let is_between = self.message_bytes.load(Relaxed) <= SMALL_BYTES;
        if is_between {
            *self.message() = None;
        }
        is_between
    }

    /// Notes whose socket it is.
    pub fn note_team(&self, team_id: Option<Uuid>) {
        let _ = self.team.set(team_id);
    }
}
