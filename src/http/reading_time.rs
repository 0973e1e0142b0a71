//! A rate limit on the time for which the statements of a key, and of an account, hold connections for reading. The
//! cost of a request is estimated before, but this time is known only afterwards: the part of it beyond [`FREE`] is
//! charged then, and requests are refused while more than [`SAVED_MAX`] is owed.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

/// What each statement may take for nothing: one that goes by an index takes less, also over a network to the
/// database or on a busy machine.
const FREE: Duration = Duration::from_millis(5);
/// How long the time that was gained may be kept: a page that asks for much at once is answered.
const SAVED_MAX: Duration = Duration::from_secs(10);
/// How long it takes at most until a request is accepted again.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The reading time of all keys, or of all accounts.
pub struct ReadingTime {
    /// Connections that may be held all the time.
    connections: u32,
    /// When each will have gained what it has used; those that are missing have.
    even_at: Mutex<HashMap<Uuid, Instant>>,
}

impl ReadingTime {
    pub fn new(connections: u32) -> Self {
        Self { connections, even_at: Mutex::default() }
    }

    /// Notes how long a statement held a connection.
    pub fn note(&self, id: Uuid, held: Duration) {
        let Some(time) = held.checked_sub(FREE).filter(|time| !time.is_zero()) else { return };
        let now = Instant::now();
        let mut all = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        let even_at = all.entry(id).or_insert(now);
        let later = now.max(*even_at) + time / self.connections;
        *even_at = later.min(now + SAVED_MAX + WAIT_MAX);
    }

    /// How long it is until this may read again; zero if it may now.
    pub fn wait(&self, id: Uuid) -> Duration {
        let all = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id).map_or(Duration::ZERO, |even_at| {
            even_at.saturating_duration_since(Instant::now() + SAVED_MAX)
        })
    }

    /// Forgets those that have gained what they have used.
    pub fn tidy(&self) {
        let now = Instant::now();
        let mut all = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, even_at| *even_at > now);
        all.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const ID: Uuid = Uuid::from_u128(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn short_statements_are_free() {
        let key = ReadingTime::new(1);
        for _ in 0..10_000 {
            key.note(ID, FREE);
        }
        assert!(key.even_at.lock().expect("no panic").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_beyond_the_savings_is_waited_for() {
        let (key, account) = (ReadingTime::new(1), ReadingTime::new(2));
        for _ in 0..11 {
            assert_eq!((key.wait(ID), account.wait(ID)), (Duration::ZERO, Duration::ZERO));
            key.note(ID, SECOND + FREE);
            account.note(ID, SECOND + FREE);
        }
        assert_eq!((key.wait(ID), account.wait(ID)), (SECOND, Duration::ZERO));
        assert_eq!(key.wait(Uuid::from_u128(2)), Duration::ZERO);
        advance(SECOND).await;
        assert_eq!(key.wait(ID), Duration::ZERO);
        // A connection that is held all the time.
        for _ in 0..100 {
            key.note(ID, SECOND + FREE);
            advance(SECOND).await;
            assert_eq!(key.wait(ID), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_statement_counts_for_as_long_as_it_took() {
        let key = ReadingTime::new(1);
        key.note(ID, SECOND * 9);
        assert_eq!(key.wait(ID), Duration::ZERO);
        key.note(ID, SECOND * 9);
        assert_eq!(key.wait(ID), SECOND * 8 - 2 * FREE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end_and_is_forgotten_afterwards() {
        let key = ReadingTime::new(1);
        for _ in 0..100 {
            key.note(ID, SECOND * 3_600);
        }
        assert_eq!(key.wait(ID), WAIT_MAX);
        key.tidy();
        assert_eq!(key.even_at.lock().expect("no panic").len(), 1);
        advance(WAIT_MAX + SAVED_MAX).await;
        key.tidy();
        assert!(key.even_at.lock().expect("no panic").is_empty());
    }
}
