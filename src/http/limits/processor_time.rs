//! How long a request keeps a processor busy.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use super::rate::Rates;
use crate::domain::caller::Caller;

/// Measures the parts of a request, and charges its caller for their processor time when it is dropped.
pub struct Meter {
    rates: Arc<Rates>,
    caller: Caller,
    used: Duration,
}

impl Meter {
    pub fn new(rates: &Arc<Rates>, caller: &Caller) -> Self {
        Self { rates: Arc::clone(rates), caller: caller.clone(), used: Duration::ZERO }
    }

    /// The same future, measured while it runs and not while it waits.
    pub async fn measure<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|context| {
            let begun = of_thread();
            let polled = future.as_mut().poll(context);
            self.used += of_thread().saturating_sub(begun);
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

/// The processor time that this thread has used.
fn of_thread() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_works_uses_time_and_one_that_sleeps_does_not() {
        let begun = of_thread();
        std::thread::sleep(Duration::from_millis(50));
        let slept = of_thread().saturating_sub(begun);
        let (begun, until) = (of_thread(), Instant::now() + Duration::from_secs(10));
        while of_thread().saturating_sub(begun) <= slept {
            assert!(Instant::now() < until, "work takes no time");
        }
    }
}
