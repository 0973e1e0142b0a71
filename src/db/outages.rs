//! Records the times in which PostgreSQL did not respond. The time for which callers wait for a failed server or
//! network is not charged to their reading time. `SQLite` runs in this process and therefore has no outages.

use std::{ops::Range, time::Duration};

use tokio::time::Instant;

/// Time without a response after which PostgreSQL is considered unavailable.
const OUTAGE_AFTER: Duration = Duration::from_secs(1);
/// Maximum time that is charged for a statement without a response, or for an outage.
pub const OUTAGE_CHARGE_MAX: Duration = Duration::from_secs(1);

/// The time at which PostgreSQL last responded to any statement, and the last outage.
pub(super) struct Outages {
    last_answer: Instant,
    outage: Range<Instant>,
}

impl Outages {
    pub fn new() -> Self {
        let now = Instant::now();
        Self { last_answer: now, outage: now..now }
    }

    /// Records that PostgreSQL responded to a statement.
    pub fn note_answer(&mut self, now: Instant) {
        if now - self.last_answer > OUTAGE_AFTER {
            self.outage = self.last_answer..now;
        }
        self.last_answer = now;
    }

    /// Returns the time to charge for a statement whose response has just arrived.
    pub fn charged(&self, since: Instant, now: Instant) -> Duration {
        let held = now - since;
        let outage = self.outage.end.saturating_duration_since(self.outage.start.max(since));
        held.saturating_sub(outage).max(held.min(OUTAGE_CHARGE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_time_is_charged_except_outages() {
        let second = Duration::from_secs(1);
        let mut outages = Outages::new();
        let mut answer = |since| {
            let now = Instant::now();
            outages.note_answer(now);
            outages.charged(since, now)
        };
        // During a slow statement, PostgreSQL responds to quick ones.
        let slow = Instant::now();
        for _ in 0..8 {
            let quick = Instant::now();
            advance(second).await;
            assert_eq!(answer(quick), second);
        }
        assert_eq!(answer(slow), second * 8);

        // PostgreSQL does not respond for ten seconds, and then responds to several statements.
        let waiting = Instant::now();
        advance(second * 10).await;
        for _ in 0..3 {
            assert_eq!(answer(waiting), second);
        }
        advance(second / 2).await;
        assert_eq!(answer(waiting), second);
        let later = Instant::now();
        advance(second).await;
        assert_eq!(answer(later), second);
    }
}
