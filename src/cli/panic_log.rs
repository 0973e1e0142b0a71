//! Panics as lines of the log, and not as text on standard error: where logs are JSON, all of it is. A panic that
//! a request causes can be caused as often as one likes, so few of a second are logged, and the others counted.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Panics of a second that are logged.
const LOGGED_PER_SECOND: u32 = 5;

/// Logs the panics of all threads from now on.
pub fn log_panics() {
    let pace = Mutex::new(Pace { since: Instant::now(), logged: 0, not_logged: 0 });
    panic::set_hook(Box::new(move |panic| {
        let not_logged = pace.lock().unwrap_or_else(PoisonError::into_inner).note(Instant::now());
        let Some(not_logged) = not_logged else { return };
        let location = panic.location().map(ToString::to_string);
        let payload = panic.payload_as_str();
        // Empty but for RUST_BACKTRACE.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured)
            .then(|| tracing::field::display(backtrace));
        tracing::error!(location, payload, not_logged, backtrace, "A thread panicked");
    }));
}

struct Pace {
    since: Instant,
    logged: u32,
    not_logged: u64,
}

impl Pace {
    /// Whether this panic is logged, and how many were not since the last one that was.
    fn note(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.logged) = (now, 0);
        }
        if self.logged == LOGGED_PER_SECOND {
            self.not_logged += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.not_logged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_panics_of_a_second_are_logged_and_the_others_counted() {
        let begun = Instant::now();
        let mut pace = Pace { since: begun, logged: 0, not_logged: 0 };
        let mut note = |millis| pace.note(begun + Duration::from_millis(millis));

        for _ in 0..LOGGED_PER_SECOND {
            assert_eq!(note(0), Some(0));
        }
        assert_eq!((note(1), note(999)), (None, None));
        assert_eq!((note(1_000), note(1_001)), (Some(2), Some(0)));
    }
}
