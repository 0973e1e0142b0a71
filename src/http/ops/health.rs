//! Whether the process is alive, and whether it can serve.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{extract::State, http::StatusCode};
use tokio::time::timeout;

use crate::http::SharedState;

pub const ALIVE: &str = "/healthz";
pub const READY: &str = "/readyz";

/// How long the database may take to answer a look at it.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Looks at the database at once at most.
pub const PROBES_MAX: usize = 2;

/// Messages are accepted, and not delivered.
const CLOCK_IS_WRONG: &str = "the machine's clock has jumped or is not PostgreSQL's; set it, or restart the server if it is right\n";

/// The process answers.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The database answers, its schema is current, the clock is trusted, and the server is not about to stop.
pub async fn readyz(State(shared): State<SharedState>) -> (StatusCode, &'static str) {
    if shared.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if shared.app.writers.are_closed() {
        return (StatusCode::SERVICE_UNAVAILABLE, "a writer broke off; restart the server\n");
    }
    if !shared.app.is_clock_right.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, CLOCK_IS_WRONG);
    }
    // However many ask, few look: they have no key.
    let look = async {
        let _turn = shared.probes.acquire().await;
        shared.app.db.is_current().await
    };
    match timeout(PROBE_TIMEOUT, look).await {
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n"),
        Ok(Ok(true)) => (StatusCode::OK, "ready\n"),
        Ok(Ok(false)) => (StatusCode::SERVICE_UNAVAILABLE, "the schema is not current\n"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "Not ready: the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}
