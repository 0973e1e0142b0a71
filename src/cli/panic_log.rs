//! Logs panics as log events instead of text on standard error, so that JSON logs contain only JSON. Clients might
//! cause a panic repeatedly, so only a few per second are logged; the others are counted.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Maximum number of panics per second that are logged.
const LOGGED_PER_SECOND: u32 = 5;

/// Installs the panic hook.
pub fn log_panics() {
    let rate = Mutex::new(LogRate { since: Instant::now(), logged: 0, not_logged: 0 });
    panic::set_hook(Box::new(move |panic| {
        let not_logged = rate.lock().unwrap_or_else(PoisonError::into_inner).note(Instant::now());
        let Some(not_logged) = not_logged else { return };
        let location = panic.location().map(ToString::to_string);
        let payload = panic.payload_as_str();
        // Captured only if RUST_BACKTRACE is set.
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured)
            .then(|| tracing::field::display(backtrace));
        tracing::error!(location, payload, not_logged, backtrace, "A thread panicked");
    }));
}

struct LogRate {
    since: Instant,
    logged: u32,
    not_logged: u64,
}

impl LogRate {
    /// Counts a panic. `None` if it is not logged, or else the number of panics that were not logged before it.
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
    fn five_panics_per_second_are_logged_and_the_others_are_counted() {
        let started = Instant::now();
        let mut rate = LogRate { since: started, logged: 0, not_logged: 0 };
        let mut note = |millis| rate.note(started + Duration::from_millis(millis));

        for _ in 0..LOGGED_PER_SECOND {
            assert_eq!(note(0), Some(0));
        }
        assert_eq!((note(1), note(999)), (None, None));
        assert_eq!((note(1_000), note(1_001)), (Some(2), Some(0)));
    }
}
