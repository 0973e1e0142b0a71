//! How long a request waits, whether its client has disconnected, and the template time it has used.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long a caller waits for the answer, whether it has hung up, and what its templates took meanwhile.
#[derive(Clone, Debug)]
pub struct Deadline {
    pub until: Instant,
    pub gone: CancellationToken,
    pub template_time: TemplateTime,
}

impl Deadline {
    /// A caller that waits until then and may hang up before.
    pub fn until(until: Instant) -> Self {
        Self { until, gone: CancellationToken::new(), template_time: TemplateTime::default() }
    }

    /// The result of a future, or `None` if the caller disconnects or its deadline passes first.
    pub async fn wait_for<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            given = future => Some(given),
            () = sleep_until(self.until) => None,
            () = self.gone.cancelled() => None,
        }
    }

    pub fn is_over(&self) -> bool {
        self.gone.is_cancelled() || self.until <= Instant::now()
    }
}

/// Processor time that the templates of one request took so far.
#[derive(Clone, Debug, Default)]
pub struct TemplateTime(Arc<AtomicU64>);

impl TemplateTime {
    /// Adds to it and gives the sum.
    pub fn add(&self, more: Duration) -> Duration {
        let more = u64::try_from(more.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.0.fetch_add(more, Ordering::Relaxed).saturating_add(more))
    }
}
