//! Accepts connections and limits their number. Closes connections whose client is too slow to send a head, to read a
//! response or to send the next request. hyper implements HTTP/1.1 on the connections.
//!
//! `axum::serve` is not used because it has no timeouts. hyper's head timer is not used either, and connections are
//! polled instead: polling adds no work to requests, and an idle connection may be kept longer than the time allowed
//! for a head.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

pub mod connection_state;
pub mod guarded_stream;
mod request;

pub use connection_state::ConnectionState;

use super::peers::Peers;
use crate::limits::quota::Quota;
use connection_state::Phase;
use guarded_stream::{ConnectionQuotas, GuardedStream, Stream};
use request::{TrackedBody, refusal_status};

/// Maximum number of connections of the process, including WebSocket connections, if the limit of open files allows it.
pub const CONNECTIONS_MAX: usize = 12_288;
/// Delay before connections are accepted again after file descriptors or memory ran out.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Interval at which the state of a connection is polled. The connection's timeouts are as precise as this interval.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum size of a request's head.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Serves connections until `stop` is canceled. Returns when all requests in progress have been answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    peers: Arc<Peers>,
    permits: Arc<Quota<IpAddr>>,
    stop: CancellationToken,
) {
    let quotas = Arc::new(ConnectionQuotas::default());
    let connections = TaskTracker::new();
    let (mut is_full, mut is_failing) = (false, false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(failure) if is_client_failure(&failure) => continue,
            Err(failure) => {
                if !is_failing {
                    tracing::error!(%failure, "Connections cannot be accepted");
                }
                is_failing = true;
                sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        is_failing = false;
        let peer = peers.direct(address);
        // Without a permit the connection is dropped, and thereby closed immediately.
        let Some(permit) = permits.take(peer) else {
            if !is_full {
                tracing::warn!(
                    "The connection limit has been reached, in total or for one address"
                );
            }
            is_full = true;
            continue;
        };
        is_full = false;
        let (router, stop) = (router.clone(), stop.child_token());
        let stream = GuardedStream::new(stream, peer, permit, Arc::clone(&quotas));
        connections.spawn(async move {
            if let Some(slow) = serve_connection(stream, address, router, stop).await {
                tracing::debug!("Closing a slow connection");
                // Resets the connection. This frees the data that the client has not read.
                let _ = slow.into_inner().set_zero_linger();
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Returns whether the client disconnected before its connection was accepted.
fn is_client_failure(failure: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(failure.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Returns the permits for all connections, of which one address gets at most half. Raises the process's limit of open
/// files to its maximum, and leaves a quarter of the files for the database and other uses.
pub fn connection_permits() -> Arc<Quota<IpAddr>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(failure) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%failure, "The limit of open files could not be raised");
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = usize::try_from(files - files / 4).unwrap_or(usize::MAX).min(CONNECTIONS_MAX);
    tracing::info!(files, connections, "Limits: {files} open files, {connections} connections");
    Quota::new(connections, connections.div_ceil(2))
}

/// Serves a connection until the client or the server ends it. Returns the stream if the client was too slow.
async fn serve_connection<S: Stream>(
    stream: GuardedStream<S>,
    address: SocketAddr,
    router: Router,
    stop: CancellationToken,
) -> Option<GuardedStream<S>> {
    let state = Arc::clone(stream.state());
    let service = service_fn({
        let state = Arc::clone(&state);
        move |request| respond(request, address, &router, Arc::clone(&state))
    });
    let mut connection = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut probe = Probe::default();
    let mut next_poll = std::pin::pin!(sleep(POLL_INTERVAL));
    let mut stopped = std::pin::pin!(stop.cancelled());
    let mut is_stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if state.is_head_refused.load(Relaxed) {
                    if let Some(parts) = connection.into_parts() {
                        parts.io.into_inner().refuse_head().await;
                    }
                    return None;
                }
                if ended.is_err_and(|failure| failure.is_parse()) {
                    // The client may still be sending.
                    state.has_unread_input.store(true, Relaxed);
                }
                return None;
            }
            () = &mut stopped, if !is_stopping => {
                Pin::new(&mut connection).graceful_shutdown();
                is_stopping = true;
            }
            () = &mut next_poll => {
                if probe.is_timed_out(&state) {
                    return connection.into_parts().map(|parts| parts.io.into_inner());
                }
                next_poll.as_mut().reset(Instant::now() + POLL_INTERVAL);
            }
        }
    }
}

/// Responds to one request. The response has `Connection: close` if the request is malformed or a part of it was not
/// read. It also has `Connection: close` after a large head, because closing the connection frees the head's buffer. A
/// WebSocket stays open, because it has its own buffer.
fn respond(
    mut request: Request<Incoming>,
    address: SocketAddr,
    router: &Router,
    state: Arc<ConnectionState>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    let is_large = state.begin_request();
    if request.headers().contains_key(header::UPGRADE) {
        request.extensions_mut().insert(Arc::clone(&state));
    }
    request.extensions_mut().insert(ConnectInfo(address));
    let refusal = refusal_status(&request);
    let request = request.map(|body| TrackedBody::track(body, &state));
    let response = match refusal {
        Some(status) => Err(status),
        None => Ok(router.clone().call(request)),
    };
    async move {
        let (mut response, is_refused) = match response {
            Ok(response) => (response.await?, false),
            Err(status) => (status.into_response(), true),
        };
        state.end_request(response.status());
        let is_websocket = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let has_unread_input = state.has_unread_input.load(Relaxed);
        if !is_websocket && (is_large || is_refused || has_unread_input) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// The last polled phase of a connection, and the time for which the phase has not changed.
#[derive(Default)]
struct Probe {
    /// The last polled phase, and the number of requests at that time.
    last: (Phase, u64),
    unchanged_for: Duration,
}

impl Probe {
    /// Polls the connection. Returns whether it has been in the same phase for too long.
    fn is_timed_out(&mut self, state: &ConnectionState) -> bool {
        let (phase, previous) = (state.phase(), self.last);
        self.last = (phase, state.requests_begun());
        self.unchanged_for =
            if self.last == previous { self.unchanged_for + POLL_INTERVAL } else { Duration::ZERO };
        self.unchanged_for >= phase.timeout()
    }
}

#[cfg(test)]
mod tests;
