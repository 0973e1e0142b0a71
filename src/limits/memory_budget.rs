//! A budget for the text that requests keep in memory: the rows that they read, their response, and the encoded
//! response until the client has received it. Each request has a limit. All requests also share a common limit, of
//! which one team may use half. The first [`PART_BYTES`] of a request are not counted against the common limit. Few
//! requests need more than that.

use std::{
    mem::take,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{Stream, TryStreamExt as _};
use sea_orm::DbErr;
use uuid::Uuid;

use super::quota::{Permit, Quota};
use crate::fault::{Fault, Unavailable};

/// Maximum number of bytes of text for one request, in its rows and in its response.
pub const TEXT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The size in bytes of the parts in which text is counted against the common limit.
pub const PART_BYTES: usize = 16 * 1024;
/// Maximum number of parts that all requests may use in total: 96 MiB.
pub const PARTS_MAX: usize = 96 * 1024 * 1024 / PART_BYTES;
/// Memory that a value of a response takes in addition to its text, in bytes.
pub const VALUE_BYTES: usize = 80;
/// Maximum number of bytes in WebSocket messages that are waiting to be sent. Every byte is counted, because many small
/// messages may be waiting for a client that does not read.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The part of [`WAITING_BYTES_MAX`] that one team may use.
pub const WAITING_BYTES_OF_TEAM_MAX: usize = WAITING_BYTES_MAX / 2;

/// The memory budget of all requests.
pub struct MemoryBudget {
    parts: Arc<Quota<Uuid>>,
    waiting: Arc<Quota<Uuid>>,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self {
            parts: Quota::new(PARTS_MAX, PARTS_MAX / 2),
            waiting: Quota::new(WAITING_BYTES_MAX, WAITING_BYTES_OF_TEAM_MAX),
        }
    }
}

impl MemoryBudget {
    /// Creates an empty reservation for one request or one event.
    pub fn of(&self, team_id: Option<Uuid>) -> Reservation {
        Reservation(Mutex::new(Held { bytes: 0, parts: self.parts.empty(team_id) }))
    }

    /// Returns the number of bytes that are currently counted against the common limit.
    pub fn bytes(&self) -> usize {
        self.parts.count() * PART_BYTES
    }

    /// Reserves memory for a message that is waiting to be sent. The memory is reserved until the permit is dropped.
    /// Returns `None` if the limit has been reached.
    pub fn wait(&self, team_id: Option<Uuid>, bytes: usize) -> Option<Permit<Uuid>> {
        let mut waiting = self.waiting.empty(team_id);
        waiting.grow(bytes).then_some(waiting)
    }
}

/// The memory that is reserved for one request. It is released when this value is dropped.
pub struct Reservation(Mutex<Held>);

struct Held {
    bytes: usize,
    parts: Permit<Uuid>,
}

impl Reservation {
    /// Reserves memory for more text.
    ///
    /// # Errors
    /// Fails with [`Fault::TooMuchText`] if the limit of the request would be exceeded, and with
    /// [`Unavailable::TextsWait`] if the limit of its team or of all requests would be exceeded.
    pub fn take(&self, bytes: usize) -> Result<(), Fault> {
        let mut held = self.held();
        let bytes = held.bytes.saturating_add(bytes);
        if bytes > TEXT_BYTES_MAX {
            return Err(Fault::TooMuchText);
        }
        let more = (bytes / PART_BYTES).saturating_sub(held.parts.count());
        if !held.parts.grow(more) {
            return Err(Unavailable::TextsWait.into());
        }
        held.bytes = bytes;
        Ok(())
    }

    /// Reserves memory for a string of the response, according to the string's length in JSON. The errors are those of
    /// [`Self::take`].
    pub fn answer(&self, text: &str) -> Result<(), Fault> {
        self.take(VALUE_BYTES + json_bytes(text))
    }

    /// Collects rows and reserves memory for their text. After an error, the remaining rows are still read and dropped,
    /// because ending the statement early would close its connection.
    pub async fn collect<T>(
        &self,
        rows: impl Stream<Item = Result<T, DbErr>>,
        bytes_of: fn(&T) -> usize,
    ) -> Result<Vec<T>, Fault> {
        let mut rows = std::pin::pin!(rows);
        let (mut collected, mut fault) = (Vec::new(), None);
        while let Some(row) = rows.try_next().await? {
            if fault.is_none() {
                match self.take(bytes_of(&row)) {
                    Ok(()) => collected.push(row),
                    Err(full) => {
                        fault = Some(full);
                        collected = Vec::new();
                    }
                }
            }
        }
        fault.map_or(Ok(collected), Err)
    }

    /// Changes the reservation to the size of the encoded response. The errors are those of [`Self::take`].
    pub fn settle(&self, bytes: usize) -> Result<(), Fault> {
        let mut held = self.held();
        if bytes >= held.bytes {
            let more = bytes - held.bytes;
            drop(held);
            return self.take(more);
        }
        held.bytes = bytes;
        let less = held.parts.count().saturating_sub(bytes / PART_BYTES);
        held.parts.shrink(less);
        Ok(())
    }

    /// Returns the number of reserved bytes.
    pub fn bytes(&self) -> usize {
        self.held().bytes
    }

    /// Returns whether the reservation is counted against the common limit.
    pub fn is_large(&self) -> bool {
        self.held().parts.count() > 0
    }

    /// Moves the reserved bytes to a new reservation, and leaves this reservation empty.
    #[must_use]
    pub fn moved(&self) -> Self {
        let mut held = self.held();
        Self(Mutex::new(Held { bytes: take(&mut held.bytes), parts: held.parts.moved() }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the length of a string in JSON as `serde_json` writes it, in bytes.
fn json_bytes(text: &str) -> usize {
    let written = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0x00..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(written).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    #[test]
    fn the_length_in_json_is_exact() {
        let characters: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        for text in ["", "plain", "😀", characters.as_str()] {
            let written = serde_json::to_vec(text).expect("a string can be encoded");
            assert_eq!(json_bytes(text), written.len());
        }
    }

    #[tokio::test]
    async fn rows_beyond_the_limit_are_read_and_dropped() {
        let memory_budget = MemoryBudget::default();
        let reservation = memory_budget.of(None);
        let read = std::cell::Cell::new(0);
        let rows = || {
            stream::iter(0..10).map(|row| {
                read.set(read.get() + 1);
                Ok(row)
            })
        };
        let collected = reservation.collect(rows(), |_| TEXT_BYTES_MAX / 10).await;
        assert_eq!((collected.ok(), read.get()), (Some((0..10).collect()), 10));
        let refused = reservation.collect(rows(), |_| TEXT_BYTES_MAX / 10).await;
        assert!(matches!(refused, Err(Fault::TooMuchText)));
        assert_eq!(read.get(), 20);
    }

    #[test]
    fn the_encoded_response_replaces_what_was_reserved() {
        let memory_budget = MemoryBudget::default();
        let reservation = memory_budget.of(None);
        reservation.take(TEXT_BYTES_MAX).expect("it fits");
        for (bytes, held) in [(3 * PART_BYTES + 1, 3), (PART_BYTES, 1), (5, 0), (2 * PART_BYTES, 2)]
        {
            reservation.settle(bytes).expect("it fits");
            assert_eq!((reservation.bytes(), memory_budget.bytes()), (bytes, held * PART_BYTES));
        }
        assert!(matches!(reservation.settle(TEXT_BYTES_MAX + 1), Err(Fault::TooMuchText)));
    }

    #[test]
    fn a_request_may_reserve_32_mib() {
        let memory_budget = MemoryBudget::default();
        let reservation = memory_budget.of(None);
        assert!(reservation.take(TEXT_BYTES_MAX - 1).is_ok());
        assert!(reservation.take(1).is_ok());
        assert!(matches!(reservation.take(1), Err(Fault::TooMuchText)));
        assert!(matches!(memory_budget.of(None).take(usize::MAX), Err(Fault::TooMuchText)));
        let moved = reservation.moved();
        assert!(reservation.take(TEXT_BYTES_MAX).is_ok());
        assert_eq!(memory_budget.bytes(), 2 * TEXT_BYTES_MAX);
        assert!(matches!(moved.take(1), Err(Fault::TooMuchText)));
        drop(moved);
        assert_eq!(memory_budget.bytes(), TEXT_BYTES_MAX);
    }

    #[test]
    fn a_team_may_use_half_and_small_requests_always_fit() {
        let memory_budget = MemoryBudget::default();
        let (busy, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let fill = |team| {
            let filled = [memory_budget.of(team), memory_budget.of(team)];
            for reservation in &filled {
                while reservation.take(PART_BYTES).is_ok() {}
                assert!(reservation.is_large());
            }
            filled
        };
        let held = fill(busy);
        assert_eq!(memory_budget.bytes(), PARTS_MAX / 2 * PART_BYTES);
        let late = memory_budget.of(busy);
        assert!(late.take(PART_BYTES - 1).is_ok() && !late.is_large());
        assert!(matches!(late.take(1), Err(Fault::Unavailable(Unavailable::TextsWait))));
        let others = fill(other);
        assert_eq!(memory_budget.bytes(), PARTS_MAX * PART_BYTES);
        assert!(
            memory_budget.of(None).take(PART_BYTES).is_err()
                && memory_budget.of(None).take(1).is_ok()
        );
        drop(held);
        assert!(late.take(1).is_ok());
        drop((late, others));
        assert!(memory_budget.of(busy).take(TEXT_BYTES_MAX).is_ok());
    }

    #[test]
    fn a_team_may_use_half_of_the_bytes_that_wait() {
        let memory_budget = MemoryBudget::default();
        let (busy, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        assert!(memory_budget.wait(busy, WAITING_BYTES_OF_TEAM_MAX + 1).is_none());
        let held = memory_budget.wait(busy, WAITING_BYTES_OF_TEAM_MAX - 1).expect("it fits");
        let last = memory_budget.wait(busy, 1).expect("it fits");
        assert!(memory_budget.wait(busy, 1).is_none());
        let others = memory_budget.wait(other, WAITING_BYTES_OF_TEAM_MAX).expect("it fits");
        assert!(memory_budget.wait(None, 1).is_none());
        drop((held, last, others));
        assert!(memory_budget.wait(busy, WAITING_BYTES_OF_TEAM_MAX).is_some());
    }
}
