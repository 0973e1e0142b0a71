//! The only source of time, and of ids that are ordered by it.

use std::sync::{LazyLock, Mutex};

use chrono::{DateTime, SubsecRound, Utc};
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

static ORDER: LazyLock<Mutex<ContextV7>> = LazyLock::new(|| Mutex::new(ContextV7::new()));

/// A new `UUIDv7` (RFC 9562), greater than every earlier one of this process while its clock does
/// not go back.
#[expect(clippy::disallowed_methods, reason = "the one home of ids")]
pub fn new_id(clock: &dyn Clock) -> Uuid {
    let now = clock.now();
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(&*ORDER, seconds, now.timestamp_subsec_nanos()))
}
