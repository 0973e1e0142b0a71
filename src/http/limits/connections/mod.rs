//! Connections: how many there are at once, and how long one may take to say what it asks for and to take
//! what it is answered. hyper speaks HTTP/1.1 on each, and hands it over when it becomes a socket.
//!
//! Why not `axum::serve`: it waits for every client for ever. Why looks instead of a timer for each request's
//! head, as hyper has them: they cost the requests nothing, and a connection that rests between requests may
//! do so for longer than a head may take.

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

mod message;
pub mod pace;
pub mod stream;

pub use pace::Pace;

use super::peers::Peers;
use crate::limits::quota::Quota;
use message::{Counted, malformed};
use pace::Phase;
use stream::{Allowances, GuardedStream, Stream};

/// Connections of this process at most, sockets among them, if so many files may be open.
pub const CONNECTIONS_MAX: usize = 12_288;
/// How long no connection is taken after one could not be, for want of files or memory.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// How often a connection is looked at: what follows is exact to so much.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How long a request's head may take from its first byte on.
pub const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take to receive an answer that does not fit into the system's buffers.
pub const ANSWER_DEADLINE: Duration = Duration::from_mins(1);
/// How long a connection may rest between requests: longer than the proxies that are in use keep theirs, so
/// that it is they who end it.
pub const REST_DEADLINE: Duration = Duration::from_secs(90);
/// Bytes of a request's head at most.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Serves what connects, in these places, until `stop`; returns when what was begun is answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    peers: Arc<Peers>,
    places: Arc<Quota<IpAddr>>,
    stop: CancellationToken,
) {
    let allowances = Arc::new(Allowances::default());
    let connections = TaskTracker::new();
    let (mut is_full, mut is_failing) = (false, false);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            // Of the client that was about to connect.
            Err(failure) if is_of_client(&failure) => continue,
            Err(failure) => {
                if !is_failing {
                    tracing::error!(%failure, "Connections cannot be taken");
                }
                is_failing = true;
                sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        is_failing = false;
        // One that there is no place for is closed at once.
        let peer = peers.direct(address);
        let Some(place) = places.take(peer) else {
            if !is_full {
                tracing::warn!("There are too many connections, of all or of one address");
            }
            is_full = true;
            continue;
        };
        is_full = false;
        let (router, stop) = (router.clone(), stop.child_token());
        let stream = GuardedStream::new(stream, peer, place, Arc::clone(&allowances));
        connections.spawn(async move {
            if let Some(late) = converse(stream, address, router, stop).await {
                tracing::debug!("A connection was too slow, and is closed");
                // What is still to be sent is thrown away.
                let _ = late.give_up().set_zero_linger();
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn is_of_client(failure: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(failure.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The places of connections; one address has at most half of them. As many files as may be are allowed to be
/// open, and a quarter of them is left for the database and for what else there is.
pub fn places() -> Arc<Quota<IpAddr>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(failure) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%failure, "The limit of open files stays as it is");
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = usize::try_from(files - files / 4).unwrap_or(usize::MAX).min(CONNECTIONS_MAX);
    tracing::info!(files, connections, "Limits: {files} open files, {connections} connections");
    Quota::new(connections, connections.div_ceil(2))
}

/// Answers on a connection until one of both ends it; gives it back if the client was too slow.
async fn converse<S: Stream>(
    stream: GuardedStream<S>,
    address: SocketAddr,
    router: Router,
    stop: CancellationToken,
) -> Option<GuardedStream<S>> {
    let pace = Arc::clone(stream.pace());
    let service = service_fn({
        let pace = Arc::clone(&pace);
        move |request| answer(request, address, &router, Arc::clone(&pace))
    });
    let mut connection = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut looks = Probes::default();
    let mut look = std::pin::pin!(sleep(POLL_INTERVAL));
    let mut stopped = std::pin::pin!(stop.cancelled());
    let mut is_stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if pace.is_refused.load(Relaxed) {
                    if let Some(parts) = connection.into_parts() {
                        parts.io.into_inner().refuse().await;
                    }
                    return None;
                }
                if ended.is_err_and(|failure| failure.is_parse()) {
                    // The client may not have said all yet.
                    pace.is_left.store(true, Relaxed);
                }
                return None;
            }
            () = &mut stopped, if !is_stopping => {
                Pin::new(&mut connection).graceful_shutdown();
                is_stopping = true;
            }
            () = &mut look => {
                if looks.find_late(&pace) {
                    return connection.into_parts().map(|parts| parts.io.into_inner());
                }
                look.as_mut().reset(Instant::now() + POLL_INTERVAL);
            }
        }
    }
}

/// Answers one request. An answer says that the connection ends where that is known: when something of the request
/// was not read, and when its head was so large that its buffer would be kept for nothing. A socket has a buffer of its own.
fn answer(
    mut request: Request<Incoming>,
    address: SocketAddr,
    router: &Router,
    pace: Arc<Pace>,
) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<> {
    let is_large = pace.begin();
    if request.headers().contains_key(header::UPGRADE) {
        request.extensions_mut().insert(Arc::clone(&pace));
    }
    request.extensions_mut().insert(ConnectInfo(address));
    let refused = malformed(&request);
    let request = request.map(|body| Counted::count(body, &pace));
    let answer = match refused {
        Some(status) => Err(status),
        None => Ok(router.clone().call(request)),
    };
    async move {
        let (mut answer, is_refused) = match answer {
            Ok(answer) => (answer.await?, false),
            Err(status) => (status.into_response(), true),
        };
        pace.end(answer.status());
        let is_socket = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if !is_socket && (is_large || is_refused || pace.is_left.load(Relaxed)) {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }
}

/// How a connection was found when it was looked at last, and for how long it had been so.
#[derive(Default)]
struct Probes {
    found: (Phase, u64),
    since: Duration,
}

impl Probes {
    /// Whether the connection has been at the same for too long.
    fn find_late(&mut self, pace: &Pace) -> bool {
        let (phase, before) = (pace.phase(), self.found);
        self.found = (phase, pace.begun());
        self.since = if self.found == before { self.since + POLL_INTERVAL } else { Duration::ZERO };
        self.since >= phase.deadline()
    }
}

#[cfg(test)]
mod tests;
