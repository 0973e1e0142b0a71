//! The watch over the machine's clock. What a wrong clock makes the worker do stays done: months of phone numbers
//! are charged, and messages of days to come go out. So the worker claims and renews nothing while the clock is
//! more than an hour away from where a clock that nobody sets says it should be, or from PostgreSQL's.
//!
//! A clock that was wrong when the server started cannot be told on `SQLite`; renewals have a brake of their own for
//! that (`domain::phone_number_renewal`).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    App,
    clock::{self, Clock},
    domain::Fault,
};

/// How far two clocks may lie apart: further than time zones of a laptop, leap seconds or a slow correction move one.
pub const APART_MAX: TimeDelta = TimeDelta::hours(1);

/// Compares a clock with others since it was made.
pub struct ClockWatch {
    /// Time that passes whatever the clock is set to.
    steady: Box<dyn Fn() -> Duration + Send + Sync>,
    /// What the clock said when the steady one said zero.
    epoch: DateTime<Utc>,
    /// Whether the database's clock is one to compare with; not for the clock of a test.
    asks_database: bool,
    is_database_apart: AtomicBool,
    /// What the log was told last.
    was_right: AtomicBool,
}

impl ClockWatch {
    /// A watch that takes the clock's time of now for right.
    pub fn new(clock: &dyn Clock, steady: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let epoch = clock.now() - delta(steady());
        Self {
            steady: Box::new(steady),
            epoch,
            asks_database: false,
            is_database_apart: AtomicBool::new(false),
            was_right: AtomicBool::new(true),
        }
    }

    /// A watch over the machine's clock: against the time since the machine started, and the database's clock.
    pub fn of_machine(clock: &dyn Clock) -> Self {
        Self { asks_database: true, ..Self::new(clock, clock::since_boot) }
    }

    /// Whether the clock can be trusted now.
    pub fn is_right(&self, clock: &dyn Clock) -> bool {
        let apart = clock.now() - self.epoch - delta((self.steady)());
        let is_right = apart.abs() <= APART_MAX;
        match (is_right, self.was_right.swap(is_right, Ordering::Relaxed)) {
            (false, true) => tracing::error!(
                jump.seconds = apart.num_seconds(),
                "The machine's clock has jumped. No message is delivered and no phone number renewed until it is set \
                 back, or the server is restarted because the clock is right now"
            ),
            (true, false) => {
                tracing::warn!("The machine's clock is where it was; messages are delivered again");
            }
            _ => {}
        }
        is_right && !self.is_database_apart.load(Ordering::Relaxed)
    }

    /// Compares the clock with that of the database, where that has one.
    pub async fn ask_database(&self, app: &App) -> Result<(), Fault> {
        if !self.asks_database {
            return Ok(());
        }
        let Some(theirs) = app.db.now().await? else { return Ok(()) };
        let apart = app.clock.now() - theirs;
        let is_apart = apart.abs() > APART_MAX;
        let was_apart = self.is_database_apart.swap(is_apart, Ordering::Relaxed);
        match (is_apart, was_apart) {
            (true, false) => tracing::error!(
                ahead.seconds = apart.num_seconds(),
                "The clocks of this machine and of PostgreSQL are more than an hour apart. No message is delivered \
                 and no phone number renewed until they agree"
            ),
            (false, true) => {
                tracing::warn!("The clocks of this machine and of PostgreSQL agree again");
            }
            _ => {}
        }
        Ok(())
    }
}

fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicU64};

    use super::*;

    struct SetClock(AtomicU64);

    impl Clock for SetClock {
        fn now(&self) -> DateTime<Utc> {
            let seconds = self.0.load(Ordering::Relaxed);
            DateTime::from_timestamp(i64::try_from(seconds).expect("a time"), 0).expect("a time")
        }
    }

    /// A clock may run with the steady one for years, and be set by an hour in either direction; further, and it is
    /// wrong until it is set back.
    #[test]
    fn a_clock_that_jumps_is_wrong_until_it_is_set_back() {
        let (clock, passed) =
            (SetClock(AtomicU64::new(1_800_000_000)), Arc::new(AtomicU64::new(7)));
        let steady = Arc::clone(&passed);
        let watch =
            ClockWatch::new(&clock, move || Duration::from_secs(steady.load(Ordering::Relaxed)));
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
}
