//! How much text requests may make the server hold: what is read and what is answered counts, until the client
//! has taken it. One request may hold a page of the longest e-mails, not thirty of them; all together have
//! a bound too, of which one team has at most half. The first part of a request does not count there: nearly
//! no request has more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::{Fault, Unavailable};
use crate::shares::{Share, Shares};

/// Bytes of text of one request, in messages that are read and in the answer, at most.
pub const TEXT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Text is counted in parts of so many bytes.
pub const PART_BYTES: usize = 16 * 1024;
/// Parts of all requests at most: 192 MiB. A team that fills its half must not press the server for memory.
const PARTS_MAX: usize = 192 * 1024 * 1024 / PART_BYTES;
/// Bytes of messages that wait to be sent on sockets at most, and of these bytes of one team. They count from the
/// first one on: a client that stops reading may have many messages waiting.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;
pub const WAITING_BYTES_OF_TEAM_MAX: usize = WAITING_BYTES_MAX / 2;

/// The room of all requests.
pub struct Rooms {
    parts: Arc<Shares<Uuid>>,
    waiting: Arc<Shares<Uuid>>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            parts: Shares::new(PARTS_MAX, PARTS_MAX / 2),
            waiting: Shares::new(WAITING_BYTES_MAX, WAITING_BYTES_OF_TEAM_MAX),
        }
    }
}

impl Rooms {
    /// The room of one request, or of one event.
    pub fn of(&self, team_id: Option<Uuid>) -> Room {
        Room { rooms: Arc::clone(&self.parts), team_id, held: Mutex::default() }
    }

    /// Bytes of text that large requests hold now.
    pub fn bytes(&self) -> usize {
        self.parts.count() * PART_BYTES
    }

    /// Counts a message of so many bytes that waits to be sent, while this is kept; `None` if too much waits.
    pub fn wait(&self, team_id: Option<Uuid>, bytes: usize) -> Option<Share<Uuid>> {
        let mut waiting = self.waiting.take(team_id)?;
        waiting.grow(bytes.saturating_sub(1)).then_some(waiting)
    }
}

/// What one request holds. It is given back when this is dropped.
pub struct Room {
    rooms: Arc<Shares<Uuid>>,
    team_id: Option<Uuid>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    parts: Option<Share<Uuid>>,
}

impl Room {
    /// Takes room for a text of so many bytes. [`Fault::TooMuchText`] if the request may not hold so much, and
    /// [`Unavailable::TextsWait`] if all together may not.
    pub fn take(&self, bytes: usize) -> Result<(), Fault> {
        let mut held = self.held();
        let bytes = held.bytes.saturating_add(bytes);
        if bytes > TEXT_BYTES_MAX {
            return Err(Fault::TooMuchText);
        }
        let parts = held.parts.as_ref().map_or(0, Share::count);
        let more = (bytes / PART_BYTES).saturating_sub(parts);
        if more > 0 {
            if held.parts.is_none() {
                held.parts = self.rooms.take(self.team_id);
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

    /// Whether so much is held that it matters for how long.
    pub fn is_large(&self) -> bool {
        self.held().parts.is_some()
    }

    /// Moves what is held into a room of its own, so that this one is empty again.
    #[must_use]
    pub fn moved(&self) -> Self {
        let held = std::mem::take(&mut *self.held());
        Self { rooms: Arc::clone(&self.rooms), team_id: self.team_id, held: Mutex::new(held) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_has_32_mib() {
        let rooms = Rooms::default();
        let room = rooms.of(None);
        assert!(room.take(TEXT_BYTES_MAX - 1).is_ok());
        assert!(room.take(1).is_ok());
        assert!(matches!(room.take(1), Err(Fault::TooMuchText)));
        assert!(matches!(rooms.of(None).take(usize::MAX), Err(Fault::TooMuchText)));
        let moved = room.moved();
        assert!(room.take(TEXT_BYTES_MAX).is_ok());
        assert_eq!(rooms.bytes(), 2 * TEXT_BYTES_MAX);
        assert!(matches!(moved.take(1), Err(Fault::TooMuchText)));
        drop(moved);
        assert_eq!(rooms.bytes(), TEXT_BYTES_MAX);
    }

    #[test]
    fn a_team_has_half_of_the_room_and_small_requests_always_fit() {
        let rooms = Rooms::default();
        let (hot, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let of_team = PARTS_MAX / 2 * PART_BYTES / TEXT_BYTES_MAX;
        let held: Vec<Room> = (0..of_team).map(|_| rooms.of(hot)).collect();
        for room in &held {
            for _ in 0..TEXT_BYTES_MAX / PART_BYTES {
                room.take(PART_BYTES).expect("there is room");
            }
            assert!(room.is_large());
        }
        let late = rooms.of(hot);
        assert!(late.take(PART_BYTES - 1).is_ok() && !late.is_large());
        assert!(matches!(late.take(1), Err(Fault::Unavailable(Unavailable::TextsWait))));
        let others: Vec<Room> = (0..of_team).map(|_| rooms.of(other)).collect();
        for room in &others {
            room.take(TEXT_BYTES_MAX).expect("there is room");
        }
        assert!(rooms.of(None).take(PART_BYTES).is_err() && rooms.of(None).take(1).is_ok());
        drop(held);
        assert!(late.take(1).is_ok());
        drop((late, others));
        assert!(rooms.of(hot).take(TEXT_BYTES_MAX).is_ok());
    }

    #[test]
    fn a_team_has_half_of_what_may_wait() {
        let rooms = Rooms::default();
        let (hot, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        assert!(rooms.wait(hot, WAITING_BYTES_OF_TEAM_MAX + 1).is_none());
        let held = rooms.wait(hot, WAITING_BYTES_OF_TEAM_MAX - 1).expect("it fits");
        let last = rooms.wait(hot, 1).expect("it fits");
        assert!(rooms.wait(hot, 1).is_none());
        let others = rooms.wait(other, WAITING_BYTES_OF_TEAM_MAX).expect("it fits");
        assert!(rooms.wait(None, 1).is_none());
        drop((held, last, others));
        assert!(rooms.wait(hot, WAITING_BYTES_OF_TEAM_MAX).is_some());
    }
}
