//! Limits the number of open WebSocket connections. One team gets at most half of them. A connection is unauthenticated
//! until its key is known. Browsers cannot send a key with the upgrade request, so their connections are
//! unauthenticated at first. Unauthenticated connections get a quarter of the total, and one address gets an eighth of
//! that quarter. At this limit, the oldest connection that has not sent a key is closed to admit the next one, so that
//! silent clients cannot block others.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use governor::{DefaultDirectRateLimiter, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::limits::quota::{Permit, Quota};

/// Maximum number of WebSocket connections of the process.
pub const SOCKETS_MAX: usize = 4_096;
/// Maximum number of WebSocket connections of one team.
pub const SOCKETS_OF_TEAM_MAX: usize = SOCKETS_MAX / 2;
/// Maximum number of unauthenticated WebSocket connections.
pub const UNAUTHENTICATED_MAX: usize = SOCKETS_MAX / 4;
/// Maximum number of unauthenticated WebSocket connections from one address. A connection is usually authenticated
/// within moments.
pub const UNAUTHENTICATED_OF_PEER_MAX: usize = UNAUTHENTICATED_MAX / 8;
/// Number of control messages that a WebSocket may receive in a burst, and the number per second that it may receive
/// after the burst.
pub const CONTROLS_MAX: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");
pub const CONTROLS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");

/// The open WebSocket connections.
pub struct Sockets {
    permits: Arc<Semaphore>,
    unauthenticated: Arc<UnauthenticatedSockets>,
    of_team: Arc<Quota<Uuid>>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(SOCKETS_MAX)),
            unauthenticated: Arc::new(UnauthenticatedSockets::new(
                UNAUTHENTICATED_MAX,
                UNAUTHENTICATED_OF_PEER_MAX,
            )),
            of_team: Quota::new(SOCKETS_MAX, SOCKETS_OF_TEAM_MAX),
        }
    }
}

/// The limit against which an admitted WebSocket is counted until it is authenticated.
pub enum Admitted {
    Unauthenticated(UnauthenticatedSocket),
    /// The upgrade request contained a valid key.
    Authenticated(#[expect(dead_code, reason = "only held until it is dropped")] Permit<Uuid>),
}

impl Admitted {
    /// Waits until this WebSocket must be closed to admit another one. May never return.
    pub async fn replaced(&self) {
        match self {
            Self::Unauthenticated(socket) => socket.replaced.cancelled().await,
            Self::Authenticated(_) => std::future::pending().await,
        }
    }

    /// Notes that the client has sent its key. From then on, the WebSocket is not closed to admit another one.
    pub fn note_key(&mut self) {
        if let Self::Unauthenticated(socket) = self {
            let silent = socket.sockets.lock().remove(&socket.number);
            socket.permit = socket.permit.take().or(silent.map(|silent| silent.permit));
        }
    }
}

/// All unauthenticated WebSocket connections.
struct UnauthenticatedSockets {
    quota: Arc<Quota<IpAddr>>,
    /// The connections that have not sent a key, oldest first.
    silent: Mutex<BTreeMap<u64, SilentSocket>>,
    opened: AtomicU64,
}

struct SilentSocket {
    peer: IpAddr,
    permit: Permit<IpAddr>,
    replaced: CancellationToken,
}

/// An unauthenticated WebSocket. When this value is dropped, the WebSocket is no longer counted against the limit for
/// unauthenticated connections.
pub struct UnauthenticatedSocket {
    number: u64,
    replaced: CancellationToken,
    sockets: Arc<UnauthenticatedSockets>,
    /// Permit for the time from the arrival of the key until the key has been looked up.
    permit: Option<Permit<IpAddr>>,
}

impl UnauthenticatedSockets {
    fn new(max: usize, of_peer_max: usize) -> Self {
        let quota = Quota::new(max, of_peer_max);
        Self { quota, silent: Mutex::default(), opened: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, SilentSocket>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a WebSocket from this address. At the limit, the new WebSocket replaces the oldest silent one from this
    /// address or, if there is none, from all addresses. Returns `None` if there is no connection to replace.
    fn open(self: &Arc<Self>, peer: IpAddr) -> Option<UnauthenticatedSocket> {
        let mut silent = self.lock();
        let permit = self.quota.take(Some(peer)).or_else(|| {
            let is_peer_full = self.quota.count_of(peer) == self.quota.of_one_max();
            let mut of_peer = silent.iter().filter(|(_, socket)| socket.peer == peer);
            let oldest_of_all = || silent.first_key_value().filter(|_| !is_peer_full);
            let oldest = of_peer.next().or_else(oldest_of_all);
            let oldest = oldest.map(|(number, _)| *number)?;
            // Dropping the removed WebSocket releases its permit.
            silent.remove(&oldest)?.replaced.cancel();
            self.quota.take(Some(peer))
        })?;
        let number = self.opened.fetch_add(1, Relaxed);
        let replaced = CancellationToken::new();
        silent.insert(number, SilentSocket { peer, permit, replaced: replaced.clone() });
        Some(UnauthenticatedSocket { number, replaced, sockets: Arc::clone(self), permit: None })
    }
}

impl Drop for UnauthenticatedSocket {
    fn drop(&mut self) {
        self.sockets.lock().remove(&self.number);
    }
}

impl Sockets {
    /// Admits a WebSocket, or returns `None` if a limit has been reached. `team` is the team of the key in the upgrade
    /// request. It is `None` if there is no key, and `Some(None)` for an operator.
    pub fn open(
        &self,
        peer: IpAddr,
        team: Option<Option<Uuid>>,
    ) -> Option<(OwnedSemaphorePermit, Admitted)> {
        let admitted = match team {
            Some(team_id) => Admitted::Authenticated(self.team_permit(team_id)?),
            None => Admitted::Unauthenticated(self.unauthenticated.open(peer)?),
        };
        Some((Arc::clone(&self.permits).try_acquire_owned().ok()?, admitted))
    }

    /// Takes a permit for a WebSocket of this team. Returns `None` if the team has too many open connections. An
    /// operator has no team.
    pub fn team_permit(&self, team_id: Option<Uuid>) -> Option<Permit<Uuid>> {
        self.of_team.take(team_id)
    }
}

/// Limits the rate of a WebSocket's control messages: pings, pongs, and `complete` messages for operations that are not
/// running. Control messages are not charged to the rate limits. Without this limit, one client could therefore keep a
/// processor busy.
pub type ControlFrames = DefaultDirectRateLimiter;

/// Creates the limiter for the control messages of one WebSocket.
pub fn control_frames() -> ControlFrames {
    RateLimiter::direct(governor::Quota::per_second(CONTROLS_PER_SECOND).allow_burst(CONTROLS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_silent_socket_is_replaced_at_the_limit() {
        let sockets = Arc::new(UnauthenticatedSockets::new(4, 3));
        let [hot, other, third] = [1, 2, 3].map(|at| IpAddr::from([203, 0, 113, at]));
        let open = |peer| sockets.open(peer).map(Admitted::Unauthenticated);
        let is_replaced = |admitted: &Admitted| match admitted {
            Admitted::Unauthenticated(socket) => socket.replaced.is_cancelled(),
            Admitted::Authenticated(_) => false,
        };
        let all_replaced = |all: &[Admitted]| all.iter().map(is_replaced).collect::<Vec<_>>();

        let mut held: Vec<_> = (0..3).map(|_| open(hot).expect("a free permit")).collect();
        held[0].note_key();
        held.push(open(hot).expect("the permit of the second"));
        assert_eq!(all_replaced(&held), [false, true, false, false]);
        held.push(open(other).expect("the last permit"));
        held.push(open(third).expect("the permit of the oldest of all"));
        assert_eq!(all_replaced(&held), [false, true, true, false, false, false]);
        for socket in &mut held {
            socket.note_key();
        }
        assert!(open(hot).is_none() && open(third).is_none(), "all have sent a key");
        held.remove(0);
        let last = open(third).expect("a free permit");
        assert_eq!(all_replaced(&[last]), [false]);
        drop(held);
        // An address that has reached its limit does not replace the connections of another address.
        let mut held: Vec<_> = (0..4).map(|at| open([other, hot, hot, hot][at])).collect();
        for socket in held[1..].iter_mut().flatten() {
            socket.note_key();
        }
        assert!(open(hot).is_none());
        assert!(held[0].as_ref().is_some_and(|oldest| !is_replaced(oldest)));
        drop(held);
        let held: Vec<_> = (0..4).map(|at| open([hot, hot, hot, other][at])).collect();
        assert!(held.iter().flatten().count() == 4 && sockets.quota.count() == 4);
        drop(held);
        assert_eq!(sockets.quota.count(), 0);
        assert!(sockets.lock().is_empty());
    }
}
