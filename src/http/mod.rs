//! The HTTP server: routes, middleware, background tasks and graceful shutdown. This module assigns a handler to each
//! path, and contains no business rules.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Method, header},
    middleware::map_request,
    routing::{any, get},
};
use tokio::{
    net::TcpListener,
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
    domain::{api_key, events, subscriptions},
};

mod body;
mod caller;
mod execution;
mod graphiql;
mod graphql;
mod limits;
mod negotiation;
pub mod ops;
pub mod reference;
mod request;
mod response;
mod sandbox_inbound;
mod settings;
mod state;
mod websocket;

pub use body::{AWAITED_OF_KEY_MAX, PARTS_MAX};
pub use execution::REQUEST_DEADLINE;
pub use limits::admission::{HELD_MAX, PERMITS_OF_TEAM_MAX};
pub use limits::peers::FAILURES_MAX;
pub use request::BODY_BYTES_MAX;
pub use settings::{ACCOUNT_RATE_DEFAULT, KEY_RATE_DEFAULT, Settings};
pub use websocket::limits::{CONTROLS_MAX, UNAUTHENTICATED_OF_PEER_MAX};
pub use websocket::subscription_limits::SUBSCRIPTIONS_OF_ACCOUNT_MAX;

use ops::log::REQUEST_ID;
use state::{HttpState, SharedState};

/// Time for which a stopping server still accepts requests, so that load balancers first notice that `/readyz` fails.
const READINESS_NOTICE: Duration = Duration::from_secs(1);
/// Maximum time for requests in progress to finish when the server stops. This time includes [`READINESS_NOTICE`].
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(9);
/// Interval at which expired rate-limit entries of keys, accounts and addresses are removed.
const CLEANUP_INTERVAL: Duration = Duration::from_mins(1);
/// Time for which a browser may cache a CORS preflight response.
const CORS_MAX_AGE: Duration = Duration::from_hours(1);

/// Returns a router with all routes. `executions` tracks the running executions.
pub async fn router(
    app: Arc<App>,
    settings: Settings,
    stop: CancellationToken,
    executions: TaskTracker,
) -> Router {
    let shared = HttpState::new(app, settings.clone(), stop, executions).await;
    routes(shared, &settings)
}

fn routes(shared: SharedState, settings: &Settings) -> Router {
    // All middleware is combined into one layer, because axum boxes the request once for each layer.
    let middleware = ServiceBuilder::new()
        .layer(map_request(ops::log::drop_invalid_request_id))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .option_layer(cors(&settings.cors_origins))
        // Converts the bodies of all responses to the type that the bodies of preflight responses have.
        .layer(MapResponseBodyLayer::new(Body::new))
        // This layer does not log failures, because they are logged with their reason where they happen.
        .layer(TraceLayer::new_for_http().on_failure(()).make_span_with(ops::log::span));
    let mut router = Router::new()
        .route("/graphql", any(graphql::execute))
        .route(ops::health::ALIVE, get(ops::health::healthz))
        .route(ops::health::READY, get(ops::health::readyz))
        .merge(graphiql::routes());
    if settings.has_sandbox {
        router = router.route(sandbox_inbound::PATH, any(sandbox_inbound::receive));
    }
    router.fallback(response::not_found).layer(middleware).with_state(shared)
}

/// Lets web pages of these origins call the API and read the rate limit headers. Returns `None` if there are no
/// origins. Cookies are not allowed, because a page sends the key in a header.
fn cors(origins: &[HeaderValue]) -> Option<CorsLayer> {
    let allowed = [header::AUTHORIZATION, header::CONTENT_TYPE, REQUEST_ID, ops::log::TRACEPARENT];
    let exposed = [
        limits::rate::RATE_LIMIT,
        limits::rate::RATE_LIMIT_POLICY,
        header::RETRY_AFTER,
        REQUEST_ID,
    ];
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.iter().cloned()))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(allowed)
            .expose_headers(exposed)
            .max_age(CORS_MAX_AGE)
    })
}

/// Serves until `stop` is canceled. Then `/readyz` fails and WebSocket connections are closed immediately, new
/// connections are refused after [`READINESS_NOTICE`], and requests in progress may finish until
/// [`SHUTDOWN_DEADLINE`].
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    settings: Settings,
    stop: CancellationToken,
) {
    let executions = TaskTracker::new();
    let shared = HttpState::new(app, settings.clone(), stop.clone(), executions.clone()).await;
    let router = routes(shared.clone(), &settings);
    let close_listener = CancellationToken::new();
    let serving = async {
        let permits = limits::connections::connection_permits();
        let peers = Arc::clone(&shared.peers);
        limits::connections::serve(listener, router, peers, permits, close_listener.clone()).await;
        executions.close();
        // Waits for executions whose clients have disconnected.
        executions.wait().await;
    };
    let shutdown_deadline = async {
        stop.cancelled().await;
        let deadline = Instant::now() + SHUTDOWN_DEADLINE;
        sleep(READINESS_NOTICE).await;
        close_listener.cancel();
        sleep_until(deadline).await;
    };
    tokio::select! {
        () = serving => {}
        () = shutdown_deadline => {
            tracing::warn!("Some requests did not finish before the server stopped");
        }
        () = run_background_tasks(&shared) => unreachable!("background tasks never end"),
    }
}

async fn run_background_tasks(shared: &SharedState) {
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
        ops::metrics::reconcile(&shared.app),
        remove_expired
    );
}
