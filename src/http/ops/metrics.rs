//! `GET /metrics`, and the periodic reconciliation whose result is one of the metrics. The metrics have their own
//! listener, because they cover all teams and need no key.

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

/// The media type of the `OpenMetrics` text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Maximum time for the query of the delivery lag. If the query takes longer, the other metrics are returned without
/// the lag.
const LAG_DEADLINE: Duration = Duration::from_secs(1);
/// Minimum time before the first reconciliation, and between two reconciliations.
const RECONCILIATION_INTERVAL: Duration = Duration::from_mins(15);
/// The pause after a reconciliation is this many times as long as the reconciliation. Reconciliations therefore take at
/// most 1 % of the time.
const RECONCILIATION_PAUSE_RATIO: u32 = 99;

/// Maximum number of connections to the metrics listener. One address gets at most half of them. The number is limited
/// because each request queries the database.
pub const CONNECTIONS_MAX: usize = 64;

/// Serves the metrics until the future is dropped, with the same timeouts as API connections.
pub async fn serve(listener: TcpListener, app: Arc<App>) {
    let permits = Quota::new(CONNECTIONS_MAX, CONNECTIONS_MAX / 2);
    let peers = Arc::new(Peers::new(Vec::new()));
    connections::serve(listener, router(app), peers, permits, CancellationToken::new()).await;
}

/// Returns a router with `/metrics`, without the connection limits.
pub fn router(app: Arc<App>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(app)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let lag = match timeout(LAG_DEADLINE, delivery::lag(&app)).await {
        Ok(Ok(lag)) => Some(lag),
        Ok(Err(fault)) => {
            tracing::warn!(%fault, "The delivery lag could not be measured");
            None
        }
        Err(_) => None,
    };
    let text = app.metrics.text(app.writers.waiting(), app.memory_budget.bytes(), lag);
    let media_type = HeaderValue::from_static(OPENMETRICS);
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

/// Reconciles balances and totals with the ledger periodically, and reports the number of differences. Never returns.
pub async fn reconcile(app: &App) {
    let mut pause = RECONCILIATION_INTERVAL;
    loop {
        sleep(pause).await;
        let started = Instant::now();
        match billing::reconciliation::run(app).await {
            Ok(report) => {
                let drifts = report.drifts.len();
                app.metrics.note_audit(drifts);
                if drifts > 0 {
                    tracing::error!(
                        drifts,
                        "Reconciliation found drift: balances or totals differ from the ledger; run \
                         `tollgate reconcile` for details"
                    );
                }
            }
            Err(fault) => tracing::warn!(%fault, "Reconciliation failed; will retry later"),
        }
        pause = RECONCILIATION_INTERVAL.max(started.elapsed() * RECONCILIATION_PAUSE_RATIO);
    }
}
