//! A rate limit on the time that the requests of a key, and of an account, take: connections for reading, and processor
//! time. The cost of a request is estimated before, but these are known only afterwards: the part beyond what is free is
//! charged then, and requests are refused while more is owed than may be saved.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

/// What each statement may take for nothing: one that goes by an index takes less, also over a network to the
/// database or on a busy machine.
pub const READING_FREE: Duration = Duration::from_millis(5);
/// What reading and executing a request may take for nothing each. A send and a page of messages take less.
pub const PROCESSING_FREE: Duration = Duration::from_millis(1);
/// How long the time that was gained may be kept: a page that asks for much at once is answered.
pub const READING_SAVED_MAX: Duration = Duration::from_secs(10);
/// The same for processor time.
pub const PROCESSING_SAVED_MAX: Duration = Duration::from_secs(4);
/// How long it takes at most until a request is accepted again.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// The time of all keys, or of all accounts.
pub struct TimeLimit {
    /// How much may be used all the time: connections or processors.
    share: f64,
    free: Duration,
    saved_max: Duration,
    /// When each will have gained what it has used; those that are missing have.
    even_at: Mutex<HashMap<Uuid, Instant>>,
}

impl TimeLimit {
    /// Of connections for reading, so many of which may be held without interruption.
    pub fn of_reading(connections: u32) -> Self {
        Self::new(f64::from(connections), READING_FREE, READING_SAVED_MAX)
    }

    /// Of the processors, so many of which may be used without interruption.
    pub fn of_processing(processors: f64) -> Self {
        Self::new(processors, PROCESSING_FREE, PROCESSING_SAVED_MAX)
    }

    fn new(share: f64, free: Duration, saved_max: Duration) -> Self {
        Self { share, free, saved_max, even_at: Mutex::default() }
    }

    /// Notes how long a statement held a connection, or a part of a request a processor.
    pub fn note(&self, id: Uuid, held: Duration) {
        let Some(time) = held.checked_sub(self.free).filter(|time| !time.is_zero()) else { return };
        let now = Instant::now();
        let mut all = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        let even_at = all.entry(id).or_insert(now);
        let later = now.max(*even_at) + time.div_f64(self.share);
        *even_at = later.min(now + self.saved_max + WAIT_MAX);
    }

    /// How long it is until this may ask again; zero if it may now.
    pub fn wait(&self, id: Uuid) -> Duration {
        let all = self.even_at.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id).map_or(Duration::ZERO, |even_at| {
            even_at.saturating_duration_since(Instant::now() + self.saved_max)
        })
    }

    /// Forgets those that have gained what they have used.
    pub fn remove_expired(&self) {
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
        let key = TimeLimit::of_reading(1);
        for _ in 0..10_000 {
            key.note(ID, READING_FREE);
        }
        assert!(key.even_at.lock().expect("no panic").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_used_beyond_the_savings_is_waited_for() {
        let (key, account) = (TimeLimit::of_reading(1), TimeLimit::of_reading(2));
        for _ in 0..11 {
            assert_eq!((key.wait(ID), account.wait(ID)), (Duration::ZERO, Duration::ZERO));
            key.note(ID, SECOND + READING_FREE);
            account.note(ID, SECOND + READING_FREE);
        }
        assert_eq!((key.wait(ID), account.wait(ID)), (SECOND, Duration::ZERO));
        assert_eq!(key.wait(Uuid::from_u128(2)), Duration::ZERO);
        advance(SECOND).await;
        assert_eq!(key.wait(ID), Duration::ZERO);
        // A connection that is held all the time.
        for _ in 0..100 {
            key.note(ID, SECOND + READING_FREE);
            advance(SECOND).await;
            assert_eq!(key.wait(ID), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_statement_counts_for_as_long_as_it_took() {
        let key = TimeLimit::of_reading(1);
        key.note(ID, SECOND * 9);
        assert_eq!(key.wait(ID), Duration::ZERO);
        key.note(ID, SECOND * 9);
        assert_eq!(key.wait(ID), (SECOND * 8).saturating_sub(2 * READING_FREE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_an_end_and_is_forgotten_afterwards() {
        let key = TimeLimit::of_reading(1);
        for _ in 0..100 {
            key.note(ID, SECOND * 3_600);
        }
        assert_eq!(key.wait(ID), WAIT_MAX);
        key.remove_expired();
        assert_eq!(key.even_at.lock().expect("no panic").len(), 1);
        advance(WAIT_MAX + READING_SAVED_MAX).await;
        key.remove_expired();
        assert!(key.even_at.lock().expect("no panic").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quarter_of_a_processor_is_used_without_interruption() {
        let key = TimeLimit::of_processing(0.25);
        let half = SECOND / 2;
        for _ in 0..2 {
            assert_eq!(key.wait(ID), Duration::ZERO);
            key.note(ID, half + PROCESSING_FREE);
        }
        assert_eq!(key.wait(ID), Duration::ZERO, "a second may be saved");
        key.note(ID, half + PROCESSING_FREE);
        assert_eq!(key.wait(ID), SECOND * 2);
        advance(SECOND * 2).await;
        for _ in 0..100 {
            assert_eq!(key.wait(ID), Duration::ZERO);
            key.note(ID, SECOND / 4 + PROCESSING_FREE);
            advance(SECOND).await;
        }
    }
}
