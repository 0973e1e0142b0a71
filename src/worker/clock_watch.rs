//! Detects a wrong machine clock. The worker cannot undo what it does while the clock is wrong: it would charge phone
//! numbers for future months and send messages days too early. Therefore the worker claims and renews nothing while the
//! clock differs by more than an hour from the monotonic clock or from PostgreSQL's clock.
//!
//! A clock that has jumped may be right afterwards, because it was corrected after the start or because the machine was
//! suspended. PostgreSQL's clock can confirm this. With `SQLite` nothing can confirm it, and the server must be
//! restarted. While the clock is not trusted, an error is logged every minute and `/readyz` fails.
//!
//! With `SQLite`, a clock that was already wrong at startup cannot be detected. Renewals have their own protection
//! against this case (`domain::phone_number::renewal`).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    app::App,
    clock::{self, Clock},
    domain::Fault,
};

/// Maximum difference between two clocks. Leap seconds and gradual corrections cause smaller differences.
pub const DIFFERENCE_MAX: TimeDelta = TimeDelta::hours(1);
/// Time for which the database's clock must agree with a clock that has jumped before the jumped clock is trusted
/// again. If the database runs on the same machine, both clocks are wrong at the same time, usually for a few seconds.
const CONFIRMATION_TIME: Duration = Duration::from_mins(1);
/// Interval of log messages while the clock is not trusted.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Compares the machine's clock with a monotonic clock and with the database's clock.
pub struct ClockWatch {
    /// Returns the monotonic time. It does not change when the machine's clock is set.
    monotonic: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Whether the clock is compared with the database's clock. It is false for the simulated clock in tests.
    uses_database: bool,
    state: Mutex<State>,
}

struct State {
    /// The time of the machine's clock when the monotonic time was zero.
    epoch: DateTime<Utc>,
    /// The time by which the clock is ahead of the database's clock; `None` if the difference is acceptable.
    ahead_of_database: Option<TimeDelta>,
    /// The epoch of a clock that has jumped but agrees with the database's clock, and the monotonic time since which
    /// the two clocks agree.
    confirmed: Option<(DateTime<Utc>, Duration)>,
    /// The monotonic time of the last log message; `None` while the clock is trusted.
    logged_at: Option<Duration>,
}

impl State {
    /// Returns how far the clock has jumped, or `None` if it has not jumped.
    fn jump(&self, now: DateTime<Utc>, monotonic: Duration) -> Option<TimeDelta> {
        let difference = now - self.epoch - delta(monotonic);
        (difference.abs() > DIFFERENCE_MAX).then_some(difference)
    }
}

impl ClockWatch {
    /// Creates a watch that trusts the clock's current time.
    pub fn new(
        clock: &dyn Clock,
        monotonic: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let epoch = clock.now() - delta(monotonic());
        let state = State { epoch, ahead_of_database: None, confirmed: None, logged_at: None };
        Self { monotonic: Box::new(monotonic), uses_database: false, state: Mutex::new(state) }
    }

    /// Creates a watch that compares the machine's clock with the time since boot and with the database's clock.
    pub fn of_machine(clock: &dyn Clock) -> Self {
        Self { uses_database: true, ..Self::new(clock, clock::since_boot) }
    }

    /// Returns whether the clock can be trusted now.
    pub fn is_right(&self, clock: &dyn Clock) -> bool {
        let (now, monotonic) = (clock.now(), (self.monotonic)());
        let mut state = self.state();
        let jump = state.jump(now, monotonic);
        let is_right = jump.is_none() && state.ahead_of_database.is_none();
        if is_right {
            if state.logged_at.take().is_some() {
                tracing::warn!("The machine's clock is trusted again; delivery continues");
            }
            return true;
        }
        if state.logged_at.is_none_or(|at| monotonic >= at + LOG_INTERVAL) {
            state.logged_at = Some(monotonic);
            if let Some(ahead) = state.ahead_of_database {
                tracing::error!(
                    ahead.seconds = ahead.num_seconds(),
                    "The clocks of this machine and of PostgreSQL differ by more than an hour. No messages are \
                     delivered and no phone numbers are renewed until they agree"
                );
            } else if let Some(jump) = jump {
                tracing::error!(
                    jump.seconds = jump.num_seconds(),
                    "The machine's clock has jumped. No messages are delivered and no phone numbers are renewed until \
                     it is corrected. If the clock is right, restart the server"
                );
            }
        }
        false
    }

    /// Compares the clock with the database's clock. Does nothing on `SQLite`, because it has no clock of its own.
    pub async fn ask_database(&self, app: &App) -> Result<(), Fault> {
        if !self.uses_database {
            return Ok(());
        }
        if let Some(database_now) = app.db.now().await? {
            self.compare(app.clock.now(), database_now);
        }
        Ok(())
    }

    /// Compares the clock with the database's time. A clock that has jumped is trusted again after the database's clock
    /// has agreed with it for [`CONFIRMATION_TIME`].
    fn compare(&self, now: DateTime<Utc>, database_now: DateTime<Utc>) {
        let monotonic = (self.monotonic)();
        let mut state = self.state();
        let ahead = now - database_now;
        state.ahead_of_database = Some(ahead).filter(|ahead| ahead.abs() > DIFFERENCE_MAX);
        if state.ahead_of_database.is_some() || state.jump(now, monotonic).is_none() {
            state.confirmed = None;
            return;
        }
        let epoch = now - delta(monotonic);
        match state.confirmed {
            Some((confirmed, since)) if (epoch - confirmed).abs() <= DIFFERENCE_MAX => {
                if monotonic >= since + CONFIRMATION_TIME {
                    (state.epoch, state.confirmed) = (epoch, None);
                }
            }
            _ => state.confirmed = Some((epoch, monotonic)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    struct SetClock(AtomicU64);

    impl Clock for SetClock {
        fn now(&self) -> DateTime<Utc> {
            let seconds = self.0.load(Ordering::Relaxed);
            DateTime::from_timestamp(i64::try_from(seconds).expect("a time"), 0).expect("a time")
        }
    }

    /// A difference of up to an hour in either direction is accepted, even after years.
    #[test]
    fn a_clock_that_jumps_is_not_trusted_until_it_is_set_back() {
        let (clock, passed) =
            (SetClock(AtomicU64::new(1_800_000_000)), Arc::new(AtomicU64::new(7)));
        let monotonic = Arc::clone(&passed);
        let watch =
            ClockWatch::new(&clock, move || Duration::from_secs(monotonic.load(Ordering::Relaxed)));
        let is_right = |seconds: u64, passed_by: u64| {
            clock.0.store(1_800_000_000 + seconds, Ordering::Relaxed);
            passed.store(7 + passed_by, Ordering::Relaxed);
            watch.is_right(&clock)
        };
        let year = 366 * 24 * 3_600;

        for (seconds, passed_by, expected) in [
            (0, 0, true),
            (10 * year, 10 * year, true),
            (10 * year + 3_600, 10 * year, true),
            (10 * year + 3_601, 10 * year, false),
            (16 * year, 10 * year, false),
            (10 * year + 5, 10 * year, true),
            (10 * year - 3_600, 10 * year, true),
            (10 * year - 3_601, 10 * year, false),
            (11 * year, 11 * year, true),
        ] {
            assert_eq!(is_right(seconds, passed_by), expected, "{seconds} after {passed_by}");
        }
    }

    #[test]
    fn a_clock_that_jumps_is_trusted_after_the_database_agrees_for_a_minute() {
        let (clock, passed) = (SetClock(AtomicU64::new(7)), Arc::new(AtomicU64::new(0)));
        let monotonic = Arc::clone(&passed);
        let watch =
            ClockWatch::new(&clock, move || Duration::from_secs(monotonic.load(Ordering::Relaxed)));
        // A board without a battery starts in 1970, and its clock is set later.
        let noon = 1_800_000_000;
        let is_right = |passed_by: u64, seconds: u64, database: u64| {
            clock.0.store(seconds, Ordering::Relaxed);
            passed.store(passed_by, Ordering::Relaxed);
            let at = |seconds: u64| SetClock(AtomicU64::new(seconds)).now();
            watch.compare(at(seconds), at(database));
            watch.is_right(&clock)
        };
        let year = 366 * 24 * 3_600;

        for (passed_by, seconds, database, expected) in [
            (0, 7, noon, false),
            (10, noon + 10, noon + 10, false),
            (69, noon + 69, noon + 69, false),
            // Both clocks are wrong for a few seconds.
            (70, noon + 70 + year, noon + 70 + year, false),
            (80, noon + 80, noon + 80, false),
            (100, noon + 100, noon + 100 + year, false),
            (110, noon + 110, noon + 110, false),
            (169, noon + 169, noon + 169, false),
            (170, noon + 170, noon + 170, true),
            (180, noon + 180 + year, noon + 180, false),
            (190, noon + 190, noon + 190, true),
        ] {
            assert_eq!(is_right(passed_by, seconds, database), expected, "after {passed_by}");
        }
    }
}
