//! Limits the processor time of the templates of one request, and stops them at the request's deadline.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::domain::{Fault, Unavailable, bad_input, deadline::Deadline};

/// Maximum processor time for all templates of one request.
pub const TIME_MAX: Duration = Duration::from_millis(200);
pub const TIME_RULE: &str = "The templates of this request exceeded the limit of 200 ms of processor time. \
                             Send fewer messages in one request, or use simpler templates.";

/// The reason to stop compiling and rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    TimeUsedUp,
    /// The request's deadline has passed, or its client has disconnected.
    Late,
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::TimeUsedUp => bad_input(TIME_RULE),
            Stop::Late => Unavailable::TemplatesLate.into(),
        }
    }
}

/// Measures the processor time of a request's templates on the current thread.
pub struct TimeLimit {
    deadline: Deadline,
    /// The thread's processor time at the last measurement.
    measured: Duration,
}

impl TimeLimit {
    pub fn new(deadline: Deadline) -> Self {
        Self { deadline, measured: thread_time() }
    }

    /// Fails if the limit or the deadline is exceeded. Must be called before each compilation and each rendering.
    pub fn check(&mut self) -> Result<(), Stop> {
        let taken = self.measure();
        if self.deadline.is_over() {
            Err(Stop::Late)
        } else if taken >= TIME_MAX {
            Err(Stop::TimeUsedUp)
        } else {
            Ok(())
        }
    }

    fn measure(&mut self) -> Duration {
        let now = thread_time();
        let more = now.saturating_sub(self.measured);
        self.measured = now;
        self.deadline.template_time.add(more)
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        self.measure();
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
