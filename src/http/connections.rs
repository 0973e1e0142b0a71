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
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use super::peers::Peers;
use crate::shares::{Share, Shares};

/// Connections of this process at most, sockets among them, if so many files may be open.
const CONNECTIONS_MAX: usize = 12_288;
/// How long no connection is taken after one could not be, for want of files or memory.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How often a connection is looked at: what follows is exact to so much.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a request's head may take from its first byte on.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take to receive an answer that does not fit into the system's buffers.
const ANSWER_DEADLINE: Duration = Duration::from_mins(1);
/// How long a connection may rest between requests: longer than the proxies that are in use keep theirs, so
/// that it is they who end it.
const REST_DEADLINE: Duration = Duration::from_secs(90);
/// Bytes of a request's head at most, and what is read ahead of a body.
const HEAD_BYTES_MAX: usize = 128 * 1024;

/// Serves what connects until `stop`; returns when what was begun is answered.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    peers: Arc<Peers>,
    stop: CancellationToken,
) {
    let places = places();
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
                sleep(ACCEPT_REST).await;
                continue;
            }
        };
        is_failing = false;
        // One that there is no place for is closed at once.
        let Some(place) = places.take(peers.direct(address)) else {
            if !is_full {
                tracing::warn!("There are too many connections, of all or of one address");
            }
            is_full = true;
            continue;
        };
        is_full = false;
        let (router, stop) = (router.clone(), stop.child_token());
        connections.spawn(async move {
            let stream = Watched { stream, pace: Arc::default(), _place: place };
            if let Some(late) = converse(stream, address, router, stop).await {
                tracing::debug!("A connection was too slow, and is closed");
                // What is still to be sent is thrown away.
                let _ = late.stream.set_zero_linger();
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
fn places() -> Arc<Shares<IpAddr>> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(failure) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%failure, "The limit of open files stays as it is");
        }
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let connections = usize::try_from(files - files / 4).unwrap_or(usize::MAX).min(CONNECTIONS_MAX);
    tracing::info!(files, connections, "So many files may be open, and connections at once");
    Shares::new(connections, connections.div_ceil(2))
}

/// Answers on a connection until one of both ends it; gives it back if the client was too slow.
async fn converse<S>(
    stream: Watched<S>,
    address: SocketAddr,
    router: Router,
    stop: CancellationToken,
) -> Option<Watched<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let pace = Arc::clone(&stream.pace);
    let service = service_fn({
        let pace = Arc::clone(&pace);
        move |mut request: Request<Incoming>| {
            pace.begun.fetch_add(1, Relaxed);
            pace.is_head_begun.store(false, Relaxed);
            request.extensions_mut().insert(ConnectInfo(address));
            let answer = router.clone().call(request);
            let pace = Arc::clone(&pace);
            async move {
                let answer: Result<Response<Body>, Infallible> = answer.await;
                pace.answered.fetch_add(1, Relaxed);
                answer
            }
        }
    });
    let mut connection = http1::Builder::new()
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut looks = Looks::default();
    let mut look = std::pin::pin!(sleep(LOOK_EVERY));
    let mut stopped = std::pin::pin!(stop.cancelled());
    let mut is_stopping = false;
    loop {
        tokio::select! {
            biased;
            // Whatever ended it, nobody is there to hear of it.
            _ = &mut connection => return None,
            () = &mut stopped, if !is_stopping => {
                Pin::new(&mut connection).graceful_shutdown();
                is_stopping = true;
            }
            () = &mut look => {
                if looks.find_late(&pace) {
                    return connection.into_parts().map(|parts| parts.io.into_inner());
                }
                look.as_mut().reset(Instant::now() + LOOK_EVERY);
            }
        }
    }
}

/// What a connection is at, as its reads, its writes and its requests show it.
#[derive(Default)]
struct Pace {
    begun: AtomicU64,
    answered: AtomicU64,
    is_head_begun: AtomicBool,
    is_held_up: AtomicBool,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Phase {
    /// The next request.
    #[default]
    Rest,
    /// The rest of a request's head.
    Head,
    /// Its answer, for which there are deadlines elsewhere.
    Work,
    /// That the client takes what it is sent.
    Answer,
}

impl Phase {
    fn deadline(self) -> Duration {
        match self {
            Self::Rest => REST_DEADLINE,
            Self::Head => HEAD_DEADLINE,
            Self::Work => Duration::MAX,
            Self::Answer => ANSWER_DEADLINE,
        }
    }
}

impl Pace {
    fn phase(&self) -> Phase {
        if self.is_held_up.load(Relaxed) {
            Phase::Answer
        } else if self.begun.load(Relaxed) != self.answered.load(Relaxed) {
            Phase::Work
        } else if self.is_head_begun.load(Relaxed) {
            Phase::Head
        } else {
            Phase::Rest
        }
    }
}

/// How a connection was found when it was looked at last, and for how long it had been so.
#[derive(Default)]
struct Looks {
    found: (Phase, u64),
    since: Duration,
}

impl Looks {
    /// Whether the connection has been at the same for too long.
    fn find_late(&mut self, pace: &Pace) -> bool {
        let (phase, before) = (pace.phase(), self.found);
        self.found = (phase, pace.begun.load(Relaxed));
        self.since = if self.found == before { self.since + LOOK_EVERY } else { Duration::ZERO };
        self.since >= phase.deadline()
    }
}

/// A stream that shows its pace, in its place among the connections, also once it is a socket.
struct Watched<S> {
    stream: S,
    pace: Arc<Pace>,
    _place: Share<IpAddr>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let pace = &self.pace;
        // Else it is of a request's body.
        if buffer.filled().len() > before && pace.begun.load(Relaxed) == pace.answered.load(Relaxed)
        {
            pace.is_head_begun.store(true, Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        self.pace.is_held_up.store(written.is_pending(), Relaxed);
        written
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
