//! Measures the processor time of a request.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use super::rate::Rates;
use crate::domain::caller::Caller;

/// Measures the processor time of parts of a request. When the meter is dropped, the time is charged to the caller.
pub struct Meter {
    rates: Arc<Rates>,
    caller: Caller,
    used: Duration,
}

impl Meter {
    pub fn new(rates: &Arc<Rates>, caller: &Caller) -> Self {
        Self { rates: Arc::clone(rates), caller: caller.clone(), used: Duration::ZERO }
    }

    /// Runs the future and measures the processor time of polling it.
    pub async fn measure<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|context| {
            let started = thread_time();
            let polled = future.as_mut().poll(context);
            self.used += thread_time().saturating_sub(started);
            polled
        })
        .await
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.rates.note_processing(&self.caller, self.used);
    }
}

/// Returns the processor time that this thread has used.
fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn only_work_uses_processor_time() {
        let started = thread_time();
        std::thread::sleep(Duration::from_millis(50));
        let slept = thread_time().saturating_sub(started);
        let (started, until) = (thread_time(), Instant::now() + Duration::from_secs(10));
        while thread_time().saturating_sub(started) <= slept {
            assert!(Instant::now() < until, "work takes no time");
        }
    }
}
