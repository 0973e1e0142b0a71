//! `/healthz` shows whether the process is alive, and `/readyz` whether it can serve requests.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{extract::State, http::StatusCode};
use tokio::time::timeout;

use crate::http::state::SharedState;

pub const ALIVE: &str = "/healthz";
pub const READY: &str = "/readyz";

/// Maximum time for the database to respond to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The response of `/readyz` while the clock is wrong. During that time, messages are accepted but not delivered.
const CLOCK_IS_WRONG: &str = "the machine's clock has jumped or differs from PostgreSQL's clock; correct it, or \
                              restart the server if it is right\n";

/// Always returns 200, because any response shows that the process is alive.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Returns 200 if the database responds, its schema is current, the clock is trusted, and the server is not stopping.
pub async fn readyz(State(shared): State<SharedState>) -> (StatusCode, &'static str) {
    if shared.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    if shared.app.writers.are_closed() {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "a database writer has failed; restart the server\n",
        );
    }
    if !shared.app.is_clock_right.load(Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, CLOCK_IS_WRONG);
    }
    // The number of concurrent probes is limited, because this endpoint needs no key.
    let probe = async {
        let _permit = shared.probes.acquire().await;
        shared.app.db.is_current().await
    };
    match timeout(PROBE_TIMEOUT, probe).await {
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not respond\n"),
        Ok(Ok(true)) => (StatusCode::OK, "ready\n"),
        Ok(Ok(false)) => (StatusCode::SERVICE_UNAVAILABLE, "the database schema is not current\n"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "Not ready: the database does not respond");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not respond\n")
        }
    }
}
