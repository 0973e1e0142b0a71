//! Limits the connections and the time that the reads of one request may use.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;

/// Maximum number of connections that one request uses at a time. A request can use several because its fields are
/// resolved concurrently.
pub const REQUEST_CONNECTIONS_MAX: usize = 2;
/// Time for which a statement may continue after its request has been abandoned. Statements are not ended immediately,
/// because ending a statement closes its connection, and opening a new connection costs more than most statements.
const ABANDONED_AFTER: Duration = Duration::from_millis(250);

/// The connection slots of one request, and the function that charges the time for the request's reads.
pub struct ReadBudget {
    pub(super) slots: Arc<Semaphore>,
    charge: Box<dyn Fn(Duration) + Send + Sync>,
    gone: Option<CancellationToken>,
}

impl ReadBudget {
    /// Creates a budget. `charge` is called with the time for which each statement occupied a connection, even if the
    /// statement was abandoned. After `gone` is canceled, the request's reads soon end with an error.
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

    /// Returns when the request's statements must end. For most requests, this function never returns.
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
