//! `GET /metrics`, on a listener of its own, for it tells of all teams together.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    domain::{billing, message::delivery},
    http::limits::{connections, peers::Peers},
    limits::quota::Quota,
};

/// The media type of Prometheus' text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long the database may take to tell how late the delivery is; all else is known without it.
const LAG_DEADLINE: Duration = Duration::from_secs(1);
/// The first audit is made when the server has settled.
const AUDIT_AFTER: Duration = Duration::from_mins(15);
/// Audits take a hundredth of the time at most.
const AUDIT_PAUSE_RATIO: u32 = 99;

/// Connections for the metrics at most, half of them for one address: few look, and each look asks the database.
pub const CONNECTIONS_MAX: usize = 64;

/// Serves the metrics until it is dropped, with the deadlines of all connections.
pub async fn serve(listener: TcpListener, app: Arc<App>) {
    let request_permits = Quota::new(CONNECTIONS_MAX, CONNECTIONS_MAX / 2);
    let peers = Arc::new(Peers::new(Vec::new()));
    connections::serve(listener, router(app), peers, request_permits, CancellationToken::new())
        .await;
}

/// The one route.
pub fn router(app: Arc<App>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let lag = match timeout(LAG_DEADLINE, delivery::lag(&app)).await {
        Ok(Ok(lag)) => Some(lag),
        Ok(Err(fault)) => {
            tracing::warn!(%fault, "The delivery's lag could not be measured");
            None
        }
        Err(_) => None,
    };
    let text = app.metrics.text(app.writers.waiting(), app.memory_budget.bytes(), lag);
    let media_type = HeaderValue::from_static(OPENMETRICS);
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

/// Audits the books now and then, for ever, and counts what contradicts itself.
pub async fn audit(app: &App) {
    let mut rest = AUDIT_AFTER;
    loop {
        sleep(rest).await;
        let begun = Instant::now();
        match billing::reconciliation::run(app).await {
            Ok(audit) => {
                app.metrics.note_audit(audit.drifts.len());
                if !audit.drifts.is_empty() {
                    tracing::error!(drifts = audit.drifts.len(), "The books contradict themselves");
                }
            }
            Err(fault) => tracing::warn!(%fault, "The books could not be audited"),
        }
        rest = AUDIT_AFTER.max(begun.elapsed() * AUDIT_PAUSE_RATIO);
    }
}
