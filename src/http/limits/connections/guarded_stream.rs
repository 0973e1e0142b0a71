//! The stream of a connection. It updates the connection's state and counts buffered bytes against quotas. When the
//! stream is closed, it discards unread input, so that the client receives the last response.

use std::{
    io,
    mem::MaybeUninit,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};
use uuid::Uuid;

use super::connection_state::{ConnectionState, SMALL_BYTES};
use crate::limits::quota::{Permit, Quota};

/// Maximum number of bytes in one read. It is one byte less than hyper's initial buffer: when a read fills the buffer,
/// hyper enlarges it and keeps the larger buffer while the connection is idle.
const READ_BYTES_MAX: usize = 8 * 1024 - 1;
/// Maximum number of bytes in unfinished large heads, in total and for one address.
pub const HEADS_BYTES_MAX: usize = 32 * 1024 * 1024;
pub const HEADS_BYTES_OF_PEER_MAX: usize = HEADS_BYTES_MAX / 2;
/// Maximum number of bytes in large WebSocket messages, in total and for one team. The bytes of a message are counted
/// until its buffer is freed.
pub const MESSAGES_BYTES_MAX: usize = 64 * 1024 * 1024;
pub const MESSAGES_BYTES_OF_TEAM_MAX: usize = MESSAGES_BYTES_MAX / 2;
/// Maximum number of bytes in the first read of a WebSocket message. It is the length of the longest frame header.
/// After reading the header, the library reserves exactly the space of the message. The buffer is therefore full when
/// the message is complete, and the library allocates a new buffer instead of keeping a large one forever.
const FRAME_HEADER_BYTES: usize = 14;
/// Maximum number of bytes in a WebSocket message that arrives before the client's key is known.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 32 * 1024;
/// Maximum number of closing connections whose unread input is discarded, in total and for one address. Other
/// connections are closed immediately.
pub const DISCARDING_MAX: usize = 512;
pub const DISCARDING_OF_PEER_MAX: usize = DISCARDING_MAX / 2;
/// The time without input after which discarding ends.
pub const DISCARD_IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// The time after which discarding ends, even if input is still arriving.
pub const DISCARD_TIMEOUT: Duration = Duration::from_secs(10);
/// The number of discarded bytes after which discarding ends.
pub const DISCARD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The response to a head that exceeds the quota.
const HEAD_REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 0\r\n\r\n";

/// The quotas that all connections share.
pub struct ConnectionQuotas {
    heads: Arc<Quota<IpAddr>>,
    messages: Arc<Quota<Uuid>>,
    discarding: Arc<Quota<IpAddr>>,
}

impl Default for ConnectionQuotas {
    fn default() -> Self {
        Self {
            heads: Quota::new(HEADS_BYTES_MAX, HEADS_BYTES_OF_PEER_MAX),
            messages: Quota::new(MESSAGES_BYTES_MAX, MESSAGES_BYTES_OF_TEAM_MAX),
            discarding: Quota::new(DISCARDING_MAX, DISCARDING_OF_PEER_MAX),
        }
    }
}

/// A byte stream such as TCP, or an in-memory one in tests.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// The stream of an HTTP connection or a WebSocket. It keeps the connection's permit until it is dropped.
pub struct GuardedStream<S: Stream> {
    /// The inner stream. It is taken out when the connection ends.
    stream: Option<S>,
    state: Arc<ConnectionState>,
    /// The client's address; `None` for a trusted proxy.
    peer: Option<IpAddr>,
    permit: Option<Permit<IpAddr>>,
    quotas: Arc<ConnectionQuotas>,
    /// Permit for the bytes of a large unfinished head.
    head: Option<Permit<IpAddr>>,
}

impl<S: Stream> GuardedStream<S> {
    pub fn new(
        stream: S,
        peer: Option<IpAddr>,
        permit: Permit<IpAddr>,
        quotas: Arc<ConnectionQuotas>,
    ) -> Self {
        let (stream, permit, state) = (Some(stream), Some(permit), Arc::default());
        Self { stream, state, peer, permit, quotas, head: None }
    }

    pub fn state(&self) -> &Arc<ConnectionState> {
        &self.state
    }

    /// Returns the inner stream. Its unread input is then not discarded.
    pub fn into_inner(mut self) -> S {
        self.stream.take().expect("the stream is taken once")
    }

    /// Refuses the head of a request, unless the client has not yet read an earlier response.
    pub async fn refuse_head(mut self) {
        if self.state.is_write_blocked.load(Relaxed) {
            return;
        }
        self.state.has_unread_input.store(true, Relaxed);
        // If the client does not read, the connection is closed without the refusal.
        let _ = timeout(DISCARD_IDLE_TIMEOUT, self.write_all(HEAD_REFUSAL)).await;
    }

    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.stream.as_mut().expect("the stream is taken when the connection has ended"))
    }

    /// Counts bytes of a head or of a WebSocket message. Fails if a quota is exhausted.
    fn count(&mut self, read: usize) -> io::Result<()> {
        let is_within_quota = if self.state.is_websocket() {
            self.head = None;
            let bytes = self.state.message_bytes.fetch_add(read, Relaxed) + read;
            match self.state.team.get() {
                None if bytes > UNAUTHENTICATED_BYTES_MAX => {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                None => true,
                Some(team_id) => {
                    reserve(&mut self.state.message(), &self.quotas.messages, *team_id, bytes)
                }
            }
        } else if self.state.is_before_request() {
            let bytes = self.state.head_bytes.fetch_add(read, Relaxed) + read;
            let is_reserved = reserve(&mut self.head, &self.quotas.heads, self.peer, bytes);
            self.state.is_head_refused.store(!is_reserved, Relaxed);
            is_reserved
        } else {
            // Bytes of a body are counted by `Bodies`.
            self.head = None;
            true
        };
        if is_within_quota { Ok(()) } else { Err(io::ErrorKind::QuotaExceeded.into()) }
    }
}

/// Grows the permit to this many bytes if they exceed [`SMALL_BYTES`]. Returns false if the quota is exhausted.
fn reserve<H: Copy + Eq + std::hash::Hash>(
    permit: &mut Option<Permit<H>>,
    quota: &Arc<Quota<H>>,
    holder: Option<H>,
    bytes: usize,
) -> bool {
    if bytes <= SMALL_BYTES {
        return true;
    }
    if permit.is_none() {
        *permit = quota.take(holder);
    }
    permit.as_mut().is_some_and(|permit| permit.grow(bytes.saturating_sub(permit.count())))
}

impl<S: Stream> AsyncRead for GuardedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES_MAX];
        let is_message_start =
            self.state.is_websocket() && self.state.message_bytes.load(Relaxed) == 0;
        let max = if is_message_start { FRAME_HEADER_BYTES } else { READ_BYTES_MAX };
        let size = buffer.remaining().min(max);
        let mut part = ReadBuf::uninit(&mut bytes[..size]);
        ready!(self.stream().poll_read(context, &mut part))?;
        self.count(part.filled().len())?;
        buffer.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> GuardedStream<S> {
    fn note_write<T>(&self, written: Poll<T>) -> Poll<T> {
        self.state.is_write_blocked.store(written.is_pending(), Relaxed);
        written
    }
}

impl<S: Stream> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(context, bytes);
        self.note_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(context, parts);
        self.note_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}

impl<S: Stream> Drop for GuardedStream<S> {
    /// Discards the unread input before the connection is closed, unless this is already being done for too many
    /// connections. If a connection with unread input is closed, the operating system resets it, and the client may
    /// lose the last response.
    fn drop(&mut self) {
        let may_have_unread_input =
            self.state.has_unread_input.load(Relaxed) || self.state.is_websocket();
        let Some(stream) = self.stream.take().filter(|_| may_have_unread_input) else { return };
        let Some(discarding) = self.quotas.discarding.take(self.peer) else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let permit = self.permit.take();
        runtime.spawn(async move {
            discard_input(stream).await;
            drop((permit, discarding));
        });
    }
}

/// Closes the sending side, and then discards everything that the client still sends.
async fn discard_input<S: Stream>(mut stream: S) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let until = Instant::now() + DISCARD_TIMEOUT;
    let (mut bytes, mut left) = (vec![0; READ_BYTES_MAX], DISCARD_BYTES_MAX);
    loop {
        let idle_until = Instant::now() + DISCARD_IDLE_TIMEOUT;
        match timeout_at(until.min(idle_until), stream.read(&mut bytes)).await {
            Ok(Ok(count)) if count > 0 && count < left => left -= count,
            _ => return,
        }
    }
}
