//! The server's surface: routes, request ids, the span of each request, and an orderly end.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Method, Uri, header},
    middleware::map_request,
    response::Response,
    routing::{any, get},
};
use ipnet::IpNet;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceBuilder;
use tower_http::{
    cors::{AllowOrigin, CorsLayer},
    map_response_body::MapResponseBodyLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    trace::TraceLayer,
};

use crate::{
    app::App,
    domain::{api_key, events, opt_out::inbound::StopWords, subscriptions},
    graphql::QueryExecutor,
};

mod body;
mod graphiql;
mod graphql;
mod limits;
mod negotiation;
pub mod ops;
pub mod reference;
mod request;
mod response;
mod sandbox_inbound;
mod websocket;

pub use body::{AWAITED_OF_KEY_MAX, PARTS_MAX};
pub use graphql::REQUEST_DEADLINE;
pub use limits::admission::{HELD_MAX, PERMITS_OF_TEAM_MAX};
pub use limits::peers::FAILURES_MAX;
pub use request::BODY_BYTES_MAX;
pub use websocket::limits::{CONTROLS_MAX, UNAUTHENTICATED_OF_PEER_MAX};
pub use websocket::subscription_limits::SUBSCRIPTIONS_OF_ACCOUNT_MAX;

use body::Bodies;
use limits::admission::RequestPermits;
use limits::peers::Peers;
use limits::rate::Rates;
use ops::log::REQUEST_ID;
use websocket::limits::Sockets;
use websocket::subscription_limits::Subscriptions;

/// How long a server that is told to stop still lets requests in, so that whoever asks `/readyz` knows first.
const NOTICE: Duration = Duration::from_secs(1);
/// How long what was begun may take when the server stops, the notice included.
const DRAIN_DEADLINE: Duration = Duration::from_secs(9);
/// How often buckets and peers that are not needed any more are forgotten.
const CLEANUP_INTERVAL: Duration = Duration::from_mins(1);

/// What can be set of the surface.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Estimated fields of answers a second for each key; 0: no bound.
    pub key_rate: u32,
    /// The same for each account.
    pub account_rate: u32,
    /// Proxies whose word of their clients' addresses counts.
    pub trusted_proxies: Vec<IpNet>,
    /// Web pages of these origins may ask.
    pub cors_origins: Vec<HeaderValue>,
    /// LIVE messages go to the sandbox: what people write back to it is taken at [`sandbox_inbound::PATH`].
    pub has_sandbox: bool,
    /// What people write to opt out.
    pub stop_words: StopWords,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key_rate: KEY_RATE_DEFAULT,
            account_rate: ACCOUNT_RATE_DEFAULT,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            has_sandbox: false,
            stop_words: StopWords::default(),
        }
    }
}

/// Above what one account reached on one machine of two processors: 5,000 lists of 50 sub-accounts a second,
/// of 230 fields each.
pub const KEY_RATE_DEFAULT: u32 = 2_000_000;
pub const ACCOUNT_RATE_DEFAULT: u32 = 4_000_000;

/// How long a browser may remember what it may ask.
const CORS_MAX_AGE: Duration = Duration::from_hours(1);

/// What the handlers share.
pub type SharedState = Arc<HttpState>;

pub struct HttpState {
    app: Arc<App>,
    api: QueryExecutor,
    bodies: Bodies,
    request_permits: RequestPermits,
    sockets: Sockets,
    subscriptions: Subscriptions,
    /// Turns to look at the database for `/readyz`.
    probes: Semaphore,
    rates: Arc<Rates>,
    peers: Arc<Peers>,
    stop_words: StopWords,
    /// Cancelled when the server is to stop: it is not ready any more.
    stop: CancellationToken,
    /// What is being executed, also for clients that have hung up.
    executions: TaskTracker,
}

/// All routes. What they execute is tracked by `executions`.
pub async fn router(
    app: Arc<App>,
    settings: Settings,
    stop: CancellationToken,
    executions: TaskTracker,
) -> Router {
    let shared = HttpState::new(app, settings.clone(), stop, executions).await;
    routes(shared, &settings)
}

impl HttpState {
    async fn new(
        app: Arc<App>,
        settings: Settings,
        stop: CancellationToken,
        executions: TaskTracker,
    ) -> SharedState {
        Arc::new(Self {
            api: QueryExecutor::new(Arc::clone(&app)).await,
            app,
            bodies: Bodies::default(),
            request_permits: RequestPermits::default(),
            sockets: Sockets::default(),
            subscriptions: Subscriptions::default(),
            probes: Semaphore::new(ops::health::PROBES_MAX),
            rates: Arc::new(Rates::new(settings.key_rate, settings.account_rate)),
            peers: Arc::new(Peers::new(settings.trusted_proxies)),
            stop_words: settings.stop_words,
            stop,
            executions,
        })
    }
}

fn routes(shared: SharedState, settings: &Settings) -> Router {
    // One layer of many parts: axum boxes a request for each layer of its own. Failures are logged where
    // they happen, with their reason.
    let around = ServiceBuilder::new()
        .layer(map_request(ops::log::without_odd_request_id))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .option_layer(cors(&settings.cors_origins))
        // The body as the answer to a preflight has it.
        .layer(MapResponseBodyLayer::new(Body::new))
        .layer(TraceLayer::new_for_http().on_failure(()).make_span_with(ops::log::span));
    let mut router = Router::new()
        .route("/graphql", any(graphql::execute))
        .route(ops::health::ALIVE, get(ops::health::healthz))
        .route(ops::health::READY, get(ops::health::readyz))
        .merge(graphiql::routes());
    if settings.has_sandbox {
        router = router.route(sandbox_inbound::PATH, any(sandbox_inbound::receive));
    }
    router.fallback(nothing_here).layer(around).with_state(shared)
}

/// Lets web pages of these origins ask, and see what the headers say; none without origins. A key travels in
/// a header that the page sets, never in a cookie.
fn cors(origins: &[HeaderValue]) -> Option<CorsLayer> {
    let headers = [header::AUTHORIZATION, header::CONTENT_TYPE, REQUEST_ID, ops::log::TRACEPARENT];
    let shown = [
        limits::rate::RATE_LIMIT,
        limits::rate::RATE_LIMIT_POLICY,
        header::RETRY_AFTER,
        REQUEST_ID,
    ];
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().cloned()))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(headers)
            .expose_headers(shown)
            .max_age(CORS_MAX_AGE)
    })
}

/// Serves until `stop`: from then on `/readyz` says so, sockets are closed, and a moment later nobody new is
/// let in; what was begun may finish.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    settings: Settings,
    stop: CancellationToken,
) {
    let executions = TaskTracker::new();
    let shared = HttpState::new(app, settings.clone(), stop.clone(), executions.clone()).await;
    let router = routes(shared.clone(), &settings);
    let closing = CancellationToken::new();
    let all_done = async {
        let (peers, request_permits) = (Arc::clone(&shared.peers), limits::connections::places());
        limits::connections::serve(listener, router, peers, request_permits, closing.clone()).await;
        executions.close();
        // Those of clients that have hung up.
        executions.wait().await;
    };
    let end = async {
        stop.cancelled().await;
        let end = Instant::now() + DRAIN_DEADLINE;
        sleep(NOTICE).await;
        closing.cancel();
        sleep_until(end).await;
    };
    tokio::select! {
        () = all_done => {}
        () = end => tracing::warn!("Some requests did not finish before the server stopped"),
        () = attend(&shared) => unreachable!("what is attended to is so for ever"),
    }
}

/// What goes on besides requests: telling what changed, looking at keys in use, auditing, forgetting.
async fn attend(shared: &SharedState) {
    let remove_expired = async {
        loop {
            sleep(CLEANUP_INTERVAL).await;
            shared.rates.remove_expired();
            shared.peers.remove_expired();
        }
    };
    tokio::join!(
        events::run(&shared.app),
        subscriptions::run(&shared.app),
        api_key::revocation_monitor::run(&shared.app),
        ops::metrics::audit(&shared.app),
        remove_expired
    );
}

async fn nothing_here(uri: Uri) -> Response {
    tracing::debug!(path = uri.path(), "Nothing is served at this path");
    response::nothing_here()
}
