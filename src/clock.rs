//! The only source of time, and of ids that are ordered by it.

use std::{
    sync::{LazyLock, Mutex},
    time::Duration,
};

use chrono::{DateTime, SubsecRound, Utc};
use rustix::time::{ClockId, clock_gettime};
use uuid::{ContextV7, Timestamp, Uuid};

/// Where time comes from; tests step their own.
pub trait Clock: Send + Sync {
    /// UTC with whole milliseconds: what both databases keep without loss.
    fn now(&self) -> DateTime<Utc>;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one home of the system's time")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(3)
    }
}

/// On Linux it goes on while the machine sleeps, so that a laptop that wakes has not jumped.
#[cfg(target_os = "linux")]
const STEADY: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const STEADY: ClockId = ClockId::Monotonic;

/// How long the machine has been running: nobody sets this clock.
pub fn since_boot() -> Duration {
    let now = clock_gettime(STEADY);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

static ORDER: LazyLock<Mutex<ContextV7>> = LazyLock::new(|| Mutex::new(ContextV7::new()));

/// A new `UUIDv7` (RFC 9562), greater than every earlier one of this process while its clock does
/// not go back.
#[expect(clippy::disallowed_methods, reason = "the one home of ids")]
pub fn new_id(clock: &dyn Clock) -> Uuid {
    let now = clock.now();
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(&*ORDER, seconds, now.timestamp_subsec_nanos()))
}
