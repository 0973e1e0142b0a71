//! How much text requests may make the server hold: what is read and what is answered counts, and once the answer
//! is written, what that takes until the client has received it. One request may hold a page of the longest e-mails,
//! not thirty of them; all together have a bound too, of which one team has at most half. The first part of a request
//! does not count there: nearly no request has more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, TryStreamExt as _};
use sea_orm::DbErr;
use uuid::Uuid;

use super::quota::{Permit, Quota};
use crate::fault::{Fault, Unavailable};

/// Bytes of text of one request, in rows that are read and in the answer, at most.
pub const TEXT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Text is counted in parts of so many bytes.
pub const PART_BYTES: usize = 16 * 1024;
/// Parts of all requests at most: 96 MiB. A team that fills its half must not press the server for memory.
pub const PARTS_MAX: usize = 96 * 1024 * 1024 / PART_BYTES;
/// Bytes of memory that a value in an answer takes besides its text.
pub const VALUE_BYTES: usize = 80;
/// Bytes of messages that wait to be sent on sockets at most, and of these bytes of one team. They count from the
/// first one on: a client that stops reading may have many messages waiting.
pub const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
pub const WAITING_BYTES_OF_TEAM_MAX: usize = WAITING_BYTES_MAX / 2;

/// The reservation of all requests.
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
    /// The reservation of one request, or of one event.
    pub fn of(&self, team_id: Option<Uuid>) -> Reservation {
        Reservation { memory_budget: Arc::clone(&self.parts), team_id, held: Mutex::default() }
    }

    /// Bytes of text that large requests hold now.
    pub fn bytes(&self) -> usize {
        self.parts.count() * PART_BYTES
    }

    /// Counts a message of so many bytes that waits to be sent, while this is kept; `None` if too much waits.
    pub fn wait(&self, team_id: Option<Uuid>, bytes: usize) -> Option<Permit<Uuid>> {
        let mut waiting = self.waiting.take(team_id)?;
        waiting.grow(bytes.saturating_sub(1)).then_some(waiting)
    }
}

/// What one request holds. It is given back when this is dropped.
pub struct Reservation {
    memory_budget: Arc<Quota<Uuid>>,
    team_id: Option<Uuid>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    parts: Option<Permit<Uuid>>,
}

impl Reservation {
    /// Takes reservation for a text of so many bytes. [`Fault::TooMuchText`] if the request may not hold so much, and
    /// [`Unavailable::TextsWait`] if all together may not.
    pub fn take(&self, bytes: usize) -> Result<(), Fault> {
        let mut held = self.held();
        let bytes = held.bytes.saturating_add(bytes);
        if bytes > TEXT_BYTES_MAX {
            return Err(Fault::TooMuchText);
        }
        let parts = held.parts.as_ref().map_or(0, Permit::count);
        let more = (bytes / PART_BYTES).saturating_sub(parts);
        if more > 0 {
            if held.parts.is_none() {
                held.parts = self.memory_budget.take(self.team_id);
            }
            let more = more - usize::from(parts == 0);
            let is_taken = held.parts.as_mut().is_some_and(|parts| parts.grow(more));
            if !is_taken {
                return Err(Unavailable::TextsWait.into());
            }
        }
        held.bytes = bytes;
        Ok(())
    }

    /// Takes reservation for a text in the answer, as long as it is in JSON.
    pub fn answer(&self, text: &str) -> Result<(), Fault> {
        self.take(VALUE_BYTES + json_bytes(text))
    }

    /// Reads rows as far as there is reservation for their texts. The others are read too: a statement that is left in the
    /// middle costs its connection.
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

    /// From now on a written answer of so many bytes is held, and nothing else. The errors are those of
    /// [`Self::take`].
    pub fn settle(&self, bytes: usize) -> Result<(), Fault> {
        let mut held = self.held();
        if bytes >= held.bytes {
            let more = bytes - held.bytes;
            drop(held);
            return self.take(more);
        }
        held.bytes = bytes;
        match bytes / PART_BYTES {
            0 => held.parts = None,
            parts => {
                if let Some(taken) = &mut held.parts {
                    taken.shrink(taken.count().saturating_sub(parts));
                }
            }
        }
        Ok(())
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        self.held().bytes
    }

    /// Whether so much is held that it matters for how long.
    pub fn is_large(&self) -> bool {
        self.held().parts.is_some()
    }

    /// Moves what is held into a reservation of its own, so that this one is empty again.
    #[must_use]
    pub fn moved(&self) -> Self {
        let held = std::mem::take(&mut *self.held());
        Self {
            memory_budget: Arc::clone(&self.memory_budget),
            team_id: self.team_id,
            held: Mutex::new(held),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a text in JSON, as `serde_json` writes it.
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
    fn a_text_takes_what_json_makes_of_it() {
        let letters: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        for text in ["", "plain", "😀", letters.as_str()] {
            let written = serde_json::to_vec(text).expect("a text can be written");
            assert_eq!(json_bytes(text), written.len());
        }
    }

    #[tokio::test]
    async fn rows_beyond_the_room_are_read_and_dropped() {
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
    fn a_written_answer_replaces_what_was_held() {
        let memory_budget = MemoryBudget::default();
        let reservation = memory_budget.of(None);
        reservation.take(TEXT_BYTES_MAX).expect("there is reservation");
        for (bytes, held) in [(3 * PART_BYTES + 1, 3), (PART_BYTES, 1), (5, 0), (2 * PART_BYTES, 2)]
        {
            reservation.settle(bytes).expect("there is reservation");
            assert_eq!((reservation.bytes(), memory_budget.bytes()), (bytes, held * PART_BYTES));
        }
        assert!(matches!(reservation.settle(TEXT_BYTES_MAX + 1), Err(Fault::TooMuchText)));
    }

    #[test]
    fn one_request_has_32_mib() {
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
    fn a_team_has_half_of_the_room_and_small_requests_always_fit() {
        let memory_budget = MemoryBudget::default();
        let (hot, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let fill = |team| {
            let filled = [memory_budget.of(team), memory_budget.of(team)];
            for reservation in &filled {
                while reservation.take(PART_BYTES).is_ok() {}
                assert!(reservation.is_large());
            }
            filled
        };
        let held = fill(hot);
        assert_eq!(memory_budget.bytes(), PARTS_MAX / 2 * PART_BYTES);
        let late = memory_budget.of(hot);
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
        assert!(memory_budget.of(hot).take(TEXT_BYTES_MAX).is_ok());
    }

    #[test]
    fn a_team_has_half_of_what_may_wait() {
        let memory_budget = MemoryBudget::default();
        let (hot, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        assert!(memory_budget.wait(hot, WAITING_BYTES_OF_TEAM_MAX + 1).is_none());
        let held = memory_budget.wait(hot, WAITING_BYTES_OF_TEAM_MAX - 1).expect("it fits");
        let last = memory_budget.wait(hot, 1).expect("it fits");
        assert!(memory_budget.wait(hot, 1).is_none());
        let others = memory_budget.wait(other, WAITING_BYTES_OF_TEAM_MAX).expect("it fits");
        assert!(memory_budget.wait(None, 1).is_none());
        drop((held, last, others));
        assert!(memory_budget.wait(hot, WAITING_BYTES_OF_TEAM_MAX).is_some());
    }
}
