//! How much processor time the templates of one request may take, and when they end early.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::domain::{Fault, Unavailable, bad_input, deadline::Deadline};

/// Processor time that the templates of one request may take.
pub const TIME_MAX: Duration = Duration::from_millis(200);
pub const TIME_RULE: &str = "The templates of one request may take 200 ms of a processor, and that is used up; \
                             send fewer messages in one request, or use simpler templates.";

/// Why no other template is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    TimeUsedUp,
    /// Nobody waits for the outcome any more.
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

/// The time that the templates of one request have left, on the thread that works on them.
pub struct TimeLimit {
    deadline: Deadline,
    /// The time of this thread up to which its work was added to that of the request.
    measured: Duration,
}

impl TimeLimit {
    pub fn new(deadline: Deadline) -> Self {
        Self { deadline, measured: thread_time() }
    }

    /// Whether another template may be worked on. To be asked before each part is compiled, and before each
    /// message is rendered.
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

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
