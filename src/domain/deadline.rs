//! The limits of a request: its deadline, whether its client has disconnected, and the processor time that its
//! templates have used.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The limits of one request.
#[derive(Clone, Debug)]
pub struct Deadline {
    pub until: Instant,
    /// Canceled when the client disconnects.
    pub gone: CancellationToken,
    pub template_time: TemplateTime,
}

impl Deadline {
    /// Creates a deadline at `until`, for a client that is connected.
    pub fn until(until: Instant) -> Self {
        Self { until, gone: CancellationToken::new(), template_time: TemplateTime::default() }
    }

    /// Returns the result of a future, or `None` if the client disconnects or the deadline passes first.
    pub async fn wait_for<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = sleep_until(self.until) => None,
            () = self.gone.cancelled() => None,
        }
    }

    pub fn is_over(&self) -> bool {
        self.gone.is_cancelled() || self.until <= Instant::now()
    }
}

/// Processor time that the templates of one request have used so far.
#[derive(Clone, Debug, Default)]
pub struct TemplateTime(Arc<AtomicU64>);

impl TemplateTime {
    /// Adds to the used time and returns the new total.
    pub fn add(&self, more: Duration) -> Duration {
        let more = u64::try_from(more.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.0.fetch_add(more, Ordering::Relaxed).saturating_add(more))
    }
}
