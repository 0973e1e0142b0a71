//! A connection's stream: it shows its pace, what it buffers is counted, and it ends so that the client hears
//! what it was told.

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

use super::pace::{Pace, SMALL_BYTES};
use crate::limits::quota::{Permit, Quota};

/// Bytes that are read at once at most. hyper makes its buffer larger after a read that filled it, and keeps it so
/// for as long as the connection rests; its first buffer has one byte more.
const READ_BYTES_MAX: usize = 8 * 1024 - 1;
/// Bytes of unfinished heads beyond the small ones at most, and of these bytes of one address.
pub const HEADS_BYTES_MAX: usize = 32 * 1024 * 1024;
pub const HEADS_BYTES_OF_PEER_MAX: usize = HEADS_BYTES_MAX / 2;
/// The same for the messages of sockets and for one team. The bytes count until the message's buffer is gone.
pub const MESSAGES_BYTES_MAX: usize = 64 * 1024 * 1024;
pub const MESSAGES_BYTES_OF_TEAM_MAX: usize = MESSAGES_BYTES_MAX / 2;
/// Bytes that are read where a socket's message begins: its header and little more. The library makes room for the
/// rest when it knows the header. With nothing else in it, its buffer is full once the message is whole, and it
/// takes a new one for what follows instead of keeping one as large as the message for ever.
const MESSAGE_BEGIN_BYTES: usize = 14;
/// Bytes that a socket may send before its key is known.
pub const UNKNOWN_BYTES_MAX: usize = 32 * 1024;
/// Connections that linger at most, and of these connections of one address; others are closed at once.
pub const LINGERING_MAX: usize = 512;
pub const LINGERING_OF_PEER_MAX: usize = LINGERING_MAX / 2;
/// A connection lingers until nothing came for so long, or for as long as the other, or until it has read so many
/// bytes.
pub const LINGER_SILENCE: Duration = Duration::from_secs(2);
pub const LINGER_DEADLINE: Duration = Duration::from_secs(10);
pub const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// The answer to a head that is more than may be held.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 0\r\n\r\n";

/// What connections share.
pub struct Allowances {
    heads: Arc<Quota<IpAddr>>,
    messages: Arc<Quota<Uuid>>,
    lingering: Arc<Quota<IpAddr>>,
}

impl Default for Allowances {
    fn default() -> Self {
        Self {
            heads: Quota::new(HEADS_BYTES_MAX, HEADS_BYTES_OF_PEER_MAX),
            messages: Quota::new(MESSAGES_BYTES_MAX, MESSAGES_BYTES_OF_TEAM_MAX),
            lingering: Quota::new(LINGERING_MAX, LINGERING_OF_PEER_MAX),
        }
    }
}

/// What a connection is made of.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A stream in its place among the connections, also once it is a socket.
pub struct GuardedStream<S: Stream> {
    /// Taken when the connection ends.
    stream: Option<S>,
    pace: Arc<Pace>,
    /// The address, unless it is a proxy's.
    peer: Option<IpAddr>,
    place: Option<Permit<IpAddr>>,
    allowances: Arc<Allowances>,
    head: Option<Permit<IpAddr>>,
}

impl<S: Stream> GuardedStream<S> {
    pub fn new(
        stream: S,
        peer: Option<IpAddr>,
        place: Permit<IpAddr>,
        allowances: Arc<Allowances>,
    ) -> Self {
        let (stream, place, pace) = (Some(stream), Some(place), Arc::default());
        Self { stream, pace, peer, place, allowances, head: None }
    }

    pub fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    /// The stream itself, which does not linger.
    pub fn give_up(mut self) -> S {
        self.stream.take().expect("it is taken once")
    }

    /// Answers a head that is more than may be held, unless an answer before it was not taken yet.
    pub async fn refuse(mut self) {
        if self.pace.is_held_up.load(Relaxed) {
            return;
        }
        self.pace.is_left.store(true, Relaxed);
        // A client that does not take the answer does not hear of it.
        let _ = timeout(LINGER_SILENCE, self.write_all(REFUSAL)).await;
    }

    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.stream.as_mut().expect("it is taken when the connection has ended"))
    }

    /// Counts bytes of a head or of a socket's message; an error if too many are held.
    fn count(&mut self, read: usize) -> io::Result<()> {
        let is_held = if self.pace.is_socket() {
            self.head = None;
            let bytes = self.pace.message_bytes.fetch_add(read, Relaxed) + read;
            match self.pace.team.get() {
                None if bytes > UNKNOWN_BYTES_MAX => {
                    return Err(io::ErrorKind::FileTooLarge.into());
                }
                None => true,
                Some(team_id) => {
                    hold(&mut self.pace.message(), &self.allowances.messages, *team_id, bytes)
                }
            }
        } else if self.pace.is_before_request() {
            let bytes = self.pace.head_bytes.fetch_add(read, Relaxed) + read;
            let is_held = hold(&mut self.head, &self.allowances.heads, self.peer, bytes);
            self.pace.is_refused.store(!is_held, Relaxed);
            is_held
        } else {
            // Of a body, whose bytes are counted where it is received.
            self.head = None;
            true
        };
        if is_held { Ok(()) } else { Err(io::ErrorKind::QuotaExceeded.into()) }
    }
}

/// Holds so many bytes, but the first; whether there is room for them.
fn hold<H: Copy + Eq + std::hash::Hash>(
    held: &mut Option<Permit<H>>,
    of_all: &Arc<Quota<H>>,
    holder: Option<H>,
    bytes: usize,
) -> bool {
    if bytes <= SMALL_BYTES {
        return true;
    }
    if held.is_none() {
        *held = of_all.take(holder);
    }
    held.as_mut().is_some_and(|held| held.grow(bytes.saturating_sub(held.count())))
}

impl<S: Stream> AsyncRead for GuardedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [const { MaybeUninit::uninit() }; READ_BYTES_MAX];
        let is_begin = self.pace.is_socket() && self.pace.message_bytes.load(Relaxed) == 0;
        let most = if is_begin { MESSAGE_BEGIN_BYTES } else { READ_BYTES_MAX };
        let room = buffer.remaining().min(most);
        let mut part = ReadBuf::uninit(&mut bytes[..room]);
        ready!(self.stream().poll_read(context, &mut part))?;
        self.count(part.filled().len())?;
        buffer.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> GuardedStream<S> {
    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        self.pace.is_held_up.store(written.is_pending(), Relaxed);
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
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(context, parts);
        self.note(written)
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
    /// A system that closes a connection while something is unread resets it, and the client may lose what it was
    /// told. So the rest is read, unless there are too many such connections.
    fn drop(&mut self) {
        let is_left = self.pace.is_left.load(Relaxed) || self.pace.is_socket();
        let Some(stream) = self.stream.take().filter(|_| is_left) else { return };
        let Some(share) = self.allowances.lingering.take(self.peer) else { return };
        let Ok(runtime) = Handle::try_current() else { return };
        let place = self.place.take();
        runtime.spawn(async move {
            linger(stream).await;
            drop((place, share));
        });
    }
}

/// Says that nothing more will be said, and reads what the client has still to say.
async fn linger<S: Stream>(mut stream: S) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let until = Instant::now() + LINGER_DEADLINE;
    let (mut bytes, mut left) = (vec![0; READ_BYTES_MAX], LINGER_BYTES);
    loop {
        let silence = Instant::now() + LINGER_SILENCE;
        match timeout_at(until.min(silence), stream.read(&mut bytes)).await {
            Ok(Ok(count)) if count > 0 && count < left => left -= count,
            _ => return,
        }
    }
}
