//! Limits the time for which the requests of a key or an account use read connections and processors. The time of a
//! request is known only afterwards, so it is charged then, except for a free part. A key or an account can save up
//! unused time. Its requests are refused while the charged time exceeds the time that it may save up.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

/// Free time of each statement. A statement that uses an index takes less than this, even over a network or on a busy
/// machine.
pub const READING_FREE: Duration = Duration::from_millis(5);
/// Free processor time for parsing a request, and the same free time for executing it. A send or a page of messages
/// takes less than this.
pub const PROCESSING_FREE: Duration = Duration::from_millis(1);
/// Maximum time that a key or an account can save up. A client can use all of the saved time at once.
pub const READING_SAVED_MAX: Duration = Duration::from_secs(10);
pub const PROCESSING_SAVED_MAX: Duration = Duration::from_secs(4);
/// Maximum wait until a request is accepted again.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// The used time of all keys, or of all accounts.
pub struct TimeLimit {
    /// Number of read connections or processors that may be used continuously.
    share: f64,
    free: Duration,
    saved_max: Duration,
    /// The times at which the used time will be paid off, by key or account. A key or account without an entry owes no
    /// time.
    paid_off_at: Mutex<HashMap<Uuid, Instant>>,
}

impl TimeLimit {
    /// Creates a limit that allows the continuous use of this many read connections.
    pub fn of_reading(connections: u32) -> Self {
        Self::new(f64::from(connections), READING_FREE, READING_SAVED_MAX)
    }

    /// Creates a limit that allows the continuous use of this many processors.
    pub fn of_processing(processors: f64) -> Self {
        Self::new(processors, PROCESSING_FREE, PROCESSING_SAVED_MAX)
    }

    fn new(share: f64, free: Duration, saved_max: Duration) -> Self {
        Self { share, free, saved_max, paid_off_at: Mutex::default() }
    }

    /// Charges the time for which a statement used a connection or a request used a processor.
    pub fn note(&self, id: Uuid, held: Duration) {
        let Some(time) = held.checked_sub(self.free).filter(|time| !time.is_zero()) else { return };
        let now = Instant::now();
        let mut all = self.paid_off_at.lock().unwrap_or_else(PoisonError::into_inner);
        let paid_off_at = all.entry(id).or_insert(now);
        let later = now.max(*paid_off_at) + time.div_f64(self.share);
        *paid_off_at = later.min(now + self.saved_max + WAIT_MAX);
    }

    /// Returns the time until the next request of this key or account is accepted. The time is zero if a request is
    /// accepted now.
    pub fn wait(&self, id: Uuid) -> Duration {
        let all = self.paid_off_at.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&id).map_or(Duration::ZERO, |paid_off_at| {
            paid_off_at.saturating_duration_since(Instant::now() + self.saved_max)
        })
    }

    /// Removes the entries that have been paid off.
    pub fn remove_expired(&self) {
        let now = Instant::now();
        let mut all = self.paid_off_at.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, paid_off_at| *paid_off_at > now);
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
        assert!(key.paid_off_at.lock().expect("no panic").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn time_beyond_the_savings_must_be_waited_for() {
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
        // One connection may be used continuously.
        for _ in 0..100 {
            key.note(ID, SECOND + READING_FREE);
            advance(SECOND).await;
            assert_eq!(key.wait(ID), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_statement_is_charged_in_full() {
        let key = TimeLimit::of_reading(1);
        key.note(ID, SECOND * 9);
        assert_eq!(key.wait(ID), Duration::ZERO);
        key.note(ID, SECOND * 9);
        assert_eq!(key.wait(ID), (SECOND * 8).saturating_sub(2 * READING_FREE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_limited_and_expires() {
        let key = TimeLimit::of_reading(1);
        for _ in 0..100 {
            key.note(ID, SECOND * 3_600);
        }
        assert_eq!(key.wait(ID), WAIT_MAX);
        key.remove_expired();
        assert_eq!(key.paid_off_at.lock().expect("no panic").len(), 1);
        advance(WAIT_MAX + READING_SAVED_MAX).await;
        key.remove_expired();
        assert!(key.paid_off_at.lock().expect("no panic").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quarter_of_a_processor_may_be_used_continuously() {
        let key = TimeLimit::of_processing(0.25);
        let half = SECOND / 2;
        for _ in 0..2 {
            assert_eq!(key.wait(ID), Duration::ZERO);
            key.note(ID, half + PROCESSING_FREE);
        }
        assert_eq!(key.wait(ID), Duration::ZERO, "a second may be saved up");
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
