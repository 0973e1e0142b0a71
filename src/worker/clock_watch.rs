//! The watch over the machine's clock. What a wrong clock makes the worker do stays done: months of phone numbers
//! are charged, and messages of days to come go out. So the worker claims and renews nothing while the clock is
//! more than an hour away from where a clock that nobody sets says it should be, or from PostgreSQL's.
//!
//! A clock that has jumped may be right since: it was wrong at the start and was then set, or the machine was paused.
//! PostgreSQL's clock can tell; on `SQLite` nothing can, and the server must be restarted. That the clock is not trusted
//! stands in the log each minute, and `/readyz` says so.
//!
//! A clock that was wrong when the server started cannot be told on `SQLite`; renewals have a brake of their own for
//! that (`domain::phone_number_renewal`).

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

/// How far two clocks may lie apart: further than time zones of a laptop, leap seconds or a slow correction move one.
pub const APART_MAX: TimeDelta = TimeDelta::hours(1);
/// For how long the database's clock must agree with one that has jumped before it is trusted. If both are the same
/// machine's, they err together, and mostly for some seconds.
const AGREES_FOR: Duration = Duration::from_mins(1);
/// How often the log says that the clock is not trusted.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Compares a clock with others since it was made.
pub struct ClockWatch {
    /// Time that passes whatever the clock is set to.
    steady: Box<dyn Fn() -> Duration + Send + Sync>,
    /// Whether the database's clock is one to compare with; not for the clock of a test.
    asks_database: bool,
    state: Mutex<State>,
}

struct State {
    /// What the clock said when the steady one said zero.
    epoch: DateTime<Utc>,
    /// How far the clock is ahead of the database's, where they are apart.
    ahead_of_database: Option<TimeDelta>,
    /// The epoch by a clock that has jumped and agrees with the database's, and since when it does by the steady clock.
    agreed: Option<(DateTime<Utc>, Duration)>,
    /// When the log was last told that the clock is not trusted, by the steady clock; `None` while it is.
    logged_at: Option<Duration>,
}

impl State {
    /// How far the clock has jumped, if it has.
    fn jump(&self, now: DateTime<Utc>, steady: Duration) -> Option<TimeDelta> {
        let apart = now - self.epoch - delta(steady);
        (apart.abs() > APART_MAX).then_some(apart)
    }
}

impl ClockWatch {
    /// A watch that takes the clock's time of now for right.
    pub fn new(clock: &dyn Clock, steady: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let epoch = clock.now() - delta(steady());
        let state = State { epoch, ahead_of_database: None, agreed: None, logged_at: None };
        Self { steady: Box::new(steady), asks_database: false, state: Mutex::new(state) }
    }

    /// A watch over the machine's clock: against the time since the machine started, and the database's clock.
    pub fn of_machine(clock: &dyn Clock) -> Self {
        Self { asks_database: true, ..Self::new(clock, clock::since_boot) }
    }

    /// Whether the clock can be trusted now.
    pub fn is_right(&self, clock: &dyn Clock) -> bool {
        let (now, steady) = (clock.now(), (self.steady)());
        let mut state = self.state();
        let jump = state.jump(now, steady);
        let is_right = jump.is_none() && state.ahead_of_database.is_none();
        if is_right {
            if state.logged_at.take().is_some() {
                tracing::warn!("The machine's clock is trusted again; messages are delivered");
            }
            return true;
        }
        if state.logged_at.is_none_or(|at| steady >= at + LOG_INTERVAL) {
            state.logged_at = Some(steady);
            if let Some(ahead) = state.ahead_of_database {
                tracing::error!(
                    ahead.seconds = ahead.num_seconds(),
                    "The clocks of this machine and of PostgreSQL are more than an hour apart. No message is \
                     delivered and no phone number renewed until they agree"
                );
            } else if let Some(jump) = jump {
                tracing::error!(
                    jump.seconds = jump.num_seconds(),
                    "The machine's clock has jumped. No message is delivered and no phone number renewed until it is \
                     set back. If the clock is right, restart the server"
                );
            }
        }
        false
    }

    /// Compares the clock with that of the database, where that has one.
    pub async fn ask_database(&self, app: &App) -> Result<(), Fault> {
        if !self.asks_database {
            return Ok(());
        }
        if let Some(theirs) = app.db.now().await? {
            self.compare(app.clock.now(), theirs);
        }
        Ok(())
    }

    /// Takes note of what the database's clock says. One that has jumped is right if the database's agrees with it.
    fn compare(&self, now: DateTime<Utc>, theirs: DateTime<Utc>) {
        let steady = (self.steady)();
        let mut state = self.state();
        let ahead = now - theirs;
        state.ahead_of_database = Some(ahead).filter(|ahead| ahead.abs() > APART_MAX);
        if state.ahead_of_database.is_some() || state.jump(now, steady).is_none() {
            state.agreed = None;
            return;
        }
        let epoch = now - delta(steady);
        match state.agreed {
            Some((agreed, since)) if (epoch - agreed).abs() <= APART_MAX => {
                if steady >= since + AGREES_FOR {
                    (state.epoch, state.agreed) = (epoch, None);
                }
            }
            _ => state.agreed = Some((epoch, steady)),
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

    /// A clock that has jumped is trusted once the database's has agreed with it for a minute without a break.
    #[test]
    fn a_clock_that_jumps_is_right_if_the_database_agrees() {
        let (clock, passed) = (SetClock(AtomicU64::new(7)), Arc::new(AtomicU64::new(0)));
        let steady = Arc::clone(&passed);
        let watch =
            ClockWatch::new(&clock, move || Duration::from_secs(steady.load(Ordering::Relaxed)));
        // A board without a battery begins in 1970, and its clock is set later.
        let noon = 1_800_000_000;
        let is_right = |passed_by: u64, seconds: u64, theirs: u64| {
            clock.0.store(seconds, Ordering::Relaxed);
            passed.store(passed_by, Ordering::Relaxed);
            let at = |seconds: u64| SetClock(AtomicU64::new(seconds)).now();
            watch.compare(at(seconds), at(theirs));
            watch.is_right(&clock)
        };
        let year = 366 * 24 * 3_600;

        for (passed_by, seconds, theirs, expected) in [
            (0, 7, noon, false),
            (10, noon + 10, noon + 10, false),
            (69, noon + 69, noon + 69, false),
            // Both err for some seconds.
            (70, noon + 70 + year, noon + 70 + year, false),
            (80, noon + 80, noon + 80, false),
            (100, noon + 100, noon + 100 + year, false),
            (110, noon + 110, noon + 110, false),
            (169, noon + 169, noon + 169, false),
            (170, noon + 170, noon + 170, true),
            (180, noon + 180 + year, noon + 180, false),
            (190, noon + 190, noon + 190, true),
        ] {
            assert_eq!(is_right(passed_by, seconds, theirs), expected, "after {passed_by}");
        }
    }
}
