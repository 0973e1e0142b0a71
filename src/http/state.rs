//! The state that all HTTP handlers share: the app, the query executor, and the counters for all limits.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    body::Bodies,
    limits::{admission::RequestPermits, peers::Peers, rate::Rates},
    settings::Settings,
    websocket::{limits::Sockets, subscription_limits::Subscriptions},
};
use crate::{app::App, domain::opt_out::inbound::StopWords, graphql::QueryExecutor};

/// Maximum number of concurrent database probes for `/readyz`.
const PROBES_MAX: usize = 2;

pub type SharedState = Arc<HttpState>;

pub struct HttpState {
    pub(super) app: Arc<App>,
    pub(super) executor: QueryExecutor,
    pub(super) bodies: Bodies,
    pub(super) request_permits: RequestPermits,
    pub(super) sockets: Sockets,
    pub(super) subscriptions: Subscriptions,
    /// Permits for database probes.
    pub(super) probes: Semaphore,
    pub(super) rates: Arc<Rates>,
    pub(super) peers: Arc<Peers>,
    pub(super) stop_words: StopWords,
    /// Canceled when the server begins to shut down.
    pub(super) stop: CancellationToken,
    /// Running executions, including those whose clients have disconnected.
    pub(super) executions: TaskTracker,
}

impl HttpState {
    pub(super) async fn new(
        app: Arc<App>,
        settings: Settings,
        stop: CancellationToken,
        executions: TaskTracker,
    ) -> SharedState {
        Arc::new(Self {
            executor: QueryExecutor::new(Arc::clone(&app)).await,
            app,
            bodies: Bodies::default(),
            request_permits: RequestPermits::default(),
            sockets: Sockets::default(),
            subscriptions: Subscriptions::default(),
            probes: Semaphore::new(PROBES_MAX),
            rates: Arc::new(Rates::new(settings.key_rate, settings.account_rate)),
            peers: Arc::new(Peers::new(settings.trusted_proxies)),
            stop_words: settings.stop_words,
            stop,
            executions,
        })
    }
}
