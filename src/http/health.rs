//! Whether the process is alive, and whether it can serve.

use axum::{extract::State, http::StatusCode};

use super::Shared;

/// The process answers.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The database answers, its schema is current, and the server is not about to stop.
pub async fn readyz(State(shared): State<Shared>) -> (StatusCode, &'static str) {
    if shared.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match shared.app.db.is_current().await {
        Ok(true) => (StatusCode::OK, "ready\n"),
        Ok(false) => (StatusCode::SERVICE_UNAVAILABLE, "the schema is not current\n"),
        Err(error) => {
            tracing::warn!(%error, "Not ready: the database does not answer");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}
