//! The connections and the time that the reads of one request may use.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;

/// Maximum number of connections that one request holds at a time. Its fields are resolved
/// concurrently.
pub const REQUEST_CONNECTIONS_MAX: usize = 2;
/// How long a statement may continue after its request was abandoned. Ending it closes its
/// connection, and opening a new one costs more than most statements.
const ABANDONED_AFTER: Duration = Duration::from_millis(250);

/// The connection slots of one request, and the function that charges the time of its reads.
pub struct ReadBudget {
    pub(super) slots: Arc<Semaphore>,
    charge: Box<dyn Fn(Duration) + Send + Sync>,
    gone: Option<CancellationToken>,
}

impl ReadBudget {
    /// `charge` gets the time for which each statement held a connection, even if it was abandoned.
    /// After `gone` is canceled, the request's reads end soon, with an error.
    pub fn new(
        charge: impl Fn(Duration) + Send + Sync + 'static,
        gone: Option<CancellationToken>,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(REQUEST_CONNECTIONS_MAX));
        Self { slots, charge: Box::new(charge), gone }
    }

    pub(super) fn charge(&self, time: Duration) {
        (self.charge)(time);
    }

    /// Returns when the request's statements must end; for most requests, never.
    pub(super) async fn abandoned(&self) {
        match &self.gone {
            Some(gone) => gone.cancelled().await,
            None => std::future::pending().await,
        }
        sleep(ABANDONED_AFTER).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_statement_has_a_short_time_to_end() {
        let gone = CancellationToken::new();
        let budget = ReadBudget::new(|_| {}, Some(gone.clone()));
        assert!(timeout(ABANDONED_AFTER * 10, budget.abandoned()).await.is_err());
        gone.cancel();
        let begun = Instant::now();
        budget.abandoned().await;
        assert_eq!(begun.elapsed(), ABANDONED_AFTER);
    }
}
