//! How much text one request may make the server hold: a page of the longest e-mails fits, thirty of them do
//! not. What is read and what is answered counts.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::Fault;

/// Bytes of text of one request, in messages that are read and in the answer, at most.
pub const TEXT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What is left of [`TEXT_BYTES_MAX`].
pub struct Room(AtomicUsize);

impl Room {
    pub fn of_request() -> Self {
        Self(AtomicUsize::new(TEXT_BYTES_MAX))
    }

    /// For what goes on for ever and holds little at a time.
    pub fn endless() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }

    /// Takes room for a text of so many bytes; [`Fault::TooMuchText`] if there is not so much left.
    pub fn take(&self, bytes: usize) -> Result<(), Fault> {
        let left = |left: usize| match left {
            usize::MAX => Some(left),
            _ => left.checked_sub(bytes),
        };
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
            .map(|_| ())
            .map_err(|_| Fault::TooMuchText)
    }
}
