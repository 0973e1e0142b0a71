//! The only source of the current time, and of ids that are ordered by time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use rustix::time::{ClockId, clock_gettime};
use uuid::{ContextV7, Timestamp, Uuid};

/// A source of the current time. Tests implement their own.
pub trait Clock: Send + Sync {
    /// Returns the current time in UTC, in whole milliseconds. Both databases store milliseconds exactly.
    fn now(&self) -> DateTime<Utc>;

    /// Returns the state that keeps the ids from this clock in order.
    fn ids(&self) -> &IdOrder {
        &SYSTEM_IDS
    }
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(3)
    }
}

/// On Linux, this clock also advances while the machine is suspended.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// Returns the time since the machine was started. It is measured by a clock that cannot be set.
pub fn since_boot() -> Duration {
    let now = clock_gettime(MONOTONIC);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

static SYSTEM_IDS: IdOrder = IdOrder::new();

/// If the clock is set back by at most this time, new ids still sort after earlier ids.
const BACK_MAX: TimeDelta = TimeDelta::seconds(1);

/// The state of the last id that was generated from a clock. This state is needed so that each new id sorts after the
/// last id.
pub struct IdOrder(Mutex<(ContextV7, DateTime<Utc>)>);

impl IdOrder {
    pub const fn new() -> Self {
        Self(Mutex::new((ContextV7::new(), DateTime::UNIX_EPOCH)))
    }
}

impl Default for IdOrder {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a new `UUIDv7` (RFC 9562). The id is greater than every earlier id from this process.
///
/// If the clock is set back by more than [`BACK_MAX`], new ids follow the clock and sort before earlier ids. Ids must
/// stay close to the clock, because lists that are filtered by time compare ids (`domain::range`).
#[expect(clippy::disallowed_methods, reason = "the only place that creates ids")]
pub fn new_id(clock: &dyn Clock) -> Uuid {
    let mut order = clock.ids().0.lock().unwrap_or_else(PoisonError::into_inner);
    let (context, last) = &mut *order;
    let now = clock.now();
    if now < *last - BACK_MAX {
        *context = ContextV7::new();
        *last = now;
    }
    *last = now.max(*last);
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(&*context, seconds, now.timestamp_subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct TestClock {
        now: Mutex<DateTime<Utc>>,
        ids: IdOrder,
    }

    impl Clock for TestClock {
        fn now(&self) -> DateTime<Utc> {
            *self.now.lock().expect("the lock is not poisoned")
        }

        fn ids(&self) -> &IdOrder {
            &self.ids
        }
    }

    fn millis(id: Uuid) -> i64 {
        i64::try_from(id.as_u128() >> 80).expect("48 bits")
    }

    #[test]
    fn ids_are_ordered_and_follow_a_clock_that_is_set_far_back() {
        let clock = TestClock::default();
        let at = |time: i64| {
            *clock.now.lock().expect("the lock is not poisoned") =
                DateTime::from_timestamp_millis(time).expect("a time");
            (0..100).map(|_| new_id(&clock)).collect::<Vec<_>>()
        };
        let mut ids = at(1_000_000);
        ids.extend(at(1_000_000));
        ids.extend(at(1_000_001));
        // A step back of one second does not change the order.
        ids.extend(at(999_001));
        assert!(ids.is_sorted());
        assert_eq!(millis(ids[399]), 1_000_001);

        let back = at(999_000);
        assert!(back.is_sorted());
        assert_eq!((millis(back[0]), millis(back[99])), (999_000, 999_000));
        let ahead = at(9_000_000);
        assert_eq!(millis(ahead[0]), 9_000_000);
        assert_eq!(millis(at(1_000_000)[0]), 1_000_000);
    }
}
