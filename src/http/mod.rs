//! The server's surface: routes, request ids, the access log, and an orderly end.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::{from_fn_with_state, map_request},
    response::Response,
    routing::{get, post},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::{
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    set_header::SetResponseHeaderLayer,
    trace::TraceLayer,
};

use crate::{
    App,
    graphql::{
        Api,
        errors::{Code, error},
    },
};

mod admission;
mod graphql;
mod health;

pub use admission::{PLACES_MAX, PLACES_OF_TEAM_MAX};
pub use graphql::{BODY_BYTES_MAX, REQUEST_DEADLINE};

/// How long requests that were begun may take when the server stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(15);
const REQUEST_ID_CHARS_MAX: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the handlers share.
#[derive(Clone)]
struct Shared {
    app: Arc<App>,
    api: Api,
    /// Cancelled when the server is to stop: it is not ready any more.
    stop: CancellationToken,
    /// What is being executed, also for clients that have hung up.
    executions: TaskTracker,
}

/// All routes. What they execute is tracked by `executions`.
pub async fn router(app: Arc<App>, stop: CancellationToken, executions: TaskTracker) -> Router {
    let api = Api::new(Arc::clone(&app)).await;
    // Failures are logged where they happen, with their reason.
    let log = TraceLayer::new_for_http().on_failure(()).make_span_with(|request: &Request| {
        let id = request.extensions().get::<RequestId>();
        let id = id.and_then(|id| id.header_value().to_str().ok()).unwrap_or_default();
        // The path alone: nothing of a key or a query is logged.
        tracing::info_span!(
            "request", request.id = id, method = %request.method(), path = request.uri().path()
        )
    });
    Router::new()
        .route("/graphql", post(graphql::execute).fallback(graphql::method_not_allowed))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(nothing_here)
        .layer(log)
        .layer(SetResponseHeaderLayer::overriding(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(map_request(without_odd_request_id))
        .with_state(Shared { app, api, stop, executions })
        .layer(from_fn_with_state(Arc::default(), admission::admit))
}

/// Serves until `stop`, then lets requests that were begun finish.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let executions = TaskTracker::new();
    let router = router(app, stop.clone(), executions.clone()).await;
    let stopped = stop.clone();
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopped.cancelled().await });
    let all_done = async {
        let served = served.into_future().await;
        executions.close();
        // Those of clients that have hung up.
        executions.wait().await;
        served
    };
    tokio::select! {
        served = all_done => served,
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN_DEADLINE).await } => {
            tracing::warn!("Some requests did not finish before the server stopped");
            Ok(())
        }
    }
}

/// A caller's own request id is logged and echoed, so it must be short and plain; else it gets one.
async fn without_odd_request_id(mut request: Request) -> Request {
    let is_plain = request.headers().get(REQUEST_ID).is_none_or(|id| {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        id.len() <= REQUEST_ID_CHARS_MAX && id.as_bytes().iter().all(is_plain)
    });
    if !is_plain {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

async fn nothing_here(uri: Uri) -> Response {
    tracing::debug!(path = uri.path(), "Nothing is served at this path");
    let message = "There is nothing here. GraphQL is at POST /graphql.";
    graphql::refuse(StatusCode::NOT_FOUND, error(Code::BadUserInput, message))
}
