//! A clock that moves only when a test moves it.

use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};
use tollgate::clock::{Clock, IdOrder};

use super::TestApp;

/// Noon on a Monday in the middle of a month.
pub const NOON: &str = "2026-03-16T12:00:00Z";

/// A clock that stays at the same time until a test moves it.
pub struct StepClock(Mutex<DateTime<Utc>>, IdOrder);

impl StepClock {
    pub fn at_noon() -> Self {
        Self(Mutex::new(NOON.parse().expect("a time")), IdOrder::new())
    }
}

impl Clock for StepClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().expect("no test panics with this lock")
    }

    fn ids(&self) -> &IdOrder {
        &self.1
    }
}

impl TestApp {
    /// Moves the clock forward by this duration.
    pub fn step(&self, by: TimeDelta) {
        *self.clock.0.lock().expect("no test panics with this lock") += by;
    }
}
