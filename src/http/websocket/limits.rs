//! How many sockets are open at once: of all, and of one team, which has at most half. Those whose key is not
//! known yet are strangers: they have a share, and each address a part of it. A browser cannot send its key with
//! the upgrade, so each of its sockets is a stranger for a moment. Where there are too many, the oldest that has
//! not sent a key is closed for the next one: silent sockets keep no others out, not even behind the same address.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::limits::quota::{Permit, Quota};

/// Sockets of this process at most.
pub const SOCKETS_MAX: usize = 4_096;
/// Of these, sockets of one team at most.
pub const SOCKETS_OF_TEAM_MAX: usize = SOCKETS_MAX / 2;
/// Of these, strangers at most.
pub const UNAUTHENTICATED_MAX: usize = SOCKETS_MAX / 4;
/// Of these, sockets of one address at most: each says who it is in a moment, and then another may.
pub const UNAUTHENTICATED_OF_PEER_MAX: usize = UNAUTHENTICATED_MAX / 8;
/// Control messages of a socket at once at most, and then in a second.
pub const CONTROLS_MAX: u32 = 100;
/// Control messages that a socket may send in a second afterwards.
pub const CONTROLS_PER_SECOND: u32 = 20;

/// The sockets that are open.
pub struct Sockets {
    places: Arc<Semaphore>,
    strangers: Arc<UnauthenticatedSockets>,
    of_team: Arc<Quota<Uuid>>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(SOCKETS_MAX)),
            strangers: Arc::new(UnauthenticatedSockets::new(
                UNAUTHENTICATED_MAX,
                UNAUTHENTICATED_OF_PEER_MAX,
            )),
            of_team: Quota::new(SOCKETS_MAX, SOCKETS_OF_TEAM_MAX),
        }
    }
}

/// What a socket counts as until it has said which key it goes by.
pub enum Admitted {
    UnauthenticatedSocket(UnauthenticatedSocket),
    Known(#[expect(dead_code, reason = "held, not looked at")] Permit<Uuid>),
}

impl Admitted {
    /// Waits until the socket is to be closed for another one, which may be never.
    pub async fn replaced(&self) {
        match self {
            Self::UnauthenticatedSocket(stranger) => stranger.replaced.cancelled().await,
            Self::Known(_) => std::future::pending().await,
        }
    }

    /// Notes that the socket has sent its key; it is not closed for another one any more.
    pub fn note_key(&mut self) {
        if let Self::UnauthenticatedSocket(stranger) = self {
            let silent = stranger.among.lock().remove(&stranger.number);
            stranger.of_key = stranger.of_key.take().or(silent.map(|silent| silent.share));
        }
    }
}

/// The sockets without a key.
struct UnauthenticatedSockets {
    quota: Arc<Quota<IpAddr>>,
    /// Those that have not sent a key, the oldest first.
    silent: Mutex<BTreeMap<u64, Silent>>,
    opened: AtomicU64,
}

struct Silent {
    peer: IpAddr,
    share: Permit<IpAddr>,
    replaced: CancellationToken,
}

/// A socket without a key. It counts until this is dropped.
pub struct UnauthenticatedSocket {
    number: u64,
    replaced: CancellationToken,
    among: Arc<UnauthenticatedSockets>,
    /// Held once it has sent a key, until that is looked up.
    of_key: Option<Permit<IpAddr>>,
}

impl UnauthenticatedSockets {
    fn new(max: usize, of_peer_max: usize) -> Self {
        let quota = Quota::new(max, of_peer_max);
        Self { quota, silent: Mutex::default(), opened: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Silent>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another socket of this address. If there are too many, it takes the place of the oldest one of its address
    /// that has not sent a key, or else of all. `None` if all others have sent one.
    fn open(self: &Arc<Self>, peer: IpAddr) -> Option<UnauthenticatedSocket> {
        let mut silent = self.lock();
        let share = self.quota.take(Some(peer)).or_else(|| {
            let is_peer_full = self.quota.count_of(peer) == self.quota.of_one_max();
            let mut of_peer = silent.iter().filter(|(_, stranger)| stranger.peer == peer);
            let of_all = || silent.first_key_value().filter(|_| !is_peer_full);
            let oldest = of_peer.next().or_else(of_all);
            let oldest = oldest.map(|(number, _)| *number)?;
            // Its share is given back.
            silent.remove(&oldest)?.replaced.cancel();
            self.quota.take(Some(peer))
        })?;
        let number = self.opened.fetch_add(1, Relaxed);
        let replaced = CancellationToken::new();
        silent.insert(number, Silent { peer, share, replaced: replaced.clone() });
        Some(UnauthenticatedSocket { number, replaced, among: Arc::clone(self), of_key: None })
    }
}

impl Drop for UnauthenticatedSocket {
    fn drop(&mut self) {
        self.among.lock().remove(&self.number);
    }
}

impl Sockets {
    /// The place of another socket, and what it counts as; `None` if there are too many. `known` is the team of
    /// a key that came with the upgrade.
    pub fn open(
        &self,
        peer: IpAddr,
        known: Option<Option<Uuid>>,
    ) -> Option<(OwnedSemaphorePermit, Admitted)> {
        let admitted = match known {
            Some(team_id) => Admitted::Known(self.of(team_id)?),
            None => Admitted::UnauthenticatedSocket(self.strangers.open(peer)?),
        };
        Some((Arc::clone(&self.places).try_acquire_owned().ok()?, admitted))
    }

    /// The place of a socket among its team's; `None` if the team has too many. An operator has no team.
    pub fn of(&self, team_id: Option<Uuid>) -> Option<Permit<Uuid>> {
        self.of_team.take(team_id)
    }
}

/// The pace of a socket's control messages: pings, pongs, and the ends of what is not under way. They cost the
/// client nothing and are not charged, so without a bound one client would keep a processor busy.
pub struct ControlFrames {
    /// When as many may be sent at once as ever.
    full_at: Instant,
}

impl Default for ControlFrames {
    fn default() -> Self {
        Self { full_at: Instant::now() }
    }
}

impl ControlFrames {
    /// Counts one; whether it may be.
    pub fn take(&mut self) -> bool {
        let (now, every) = (Instant::now(), Duration::from_secs(1) / CONTROLS_PER_SECOND);
        let full_at = self.full_at.max(now) + every;
        let may_be = full_at <= now + every * CONTROLS_MAX;
        if may_be {
            self.full_at = full_at;
        }
        may_be
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[test]
    fn the_oldest_silent_stranger_makes_room_for_the_next() {
        let strangers = Arc::new(UnauthenticatedSockets::new(4, 3));
        let [hot, other, third] = [1, 2, 3].map(|at| IpAddr::from([203, 0, 113, at]));
        let open = |peer| strangers.open(peer).map(Admitted::UnauthenticatedSocket);
        let is_replaced = |admitted: &Admitted| match admitted {
            Admitted::UnauthenticatedSocket(stranger) => stranger.replaced.is_cancelled(),
            Admitted::Known(_) => false,
        };
        let all_replaced = |all: &[Admitted]| all.iter().map(is_replaced).collect::<Vec<_>>();

        let mut held: Vec<_> = (0..3).map(|_| open(hot).expect("a place")).collect();
        held[0].note_key();
        held.push(open(hot).expect("the place of the second"));
        assert_eq!(all_replaced(&held), [false, true, false, false]);
        held.push(open(other).expect("the last place"));
        held.push(open(third).expect("the place of the oldest of all"));
        assert_eq!(all_replaced(&held), [false, true, true, false, false, false]);
        for stranger in &mut held {
            stranger.note_key();
        }
        assert!(open(hot).is_none() && open(third).is_none(), "all have sent a key");
        held.remove(0);
        let last = open(third).expect("the place that is free");
        assert_eq!(all_replaced(&[last]), [false]);
        drop(held);
        // An address that is full takes no place of another one.
        let mut held: Vec<_> = (0..4).map(|at| open([other, hot, hot, hot][at])).collect();
        for stranger in held[1..].iter_mut().flatten() {
            stranger.note_key();
        }
        assert!(open(hot).is_none());
        assert!(held[0].as_ref().is_some_and(|oldest| !is_replaced(oldest)));
        drop(held);
        let held: Vec<_> = (0..4).map(|at| open([hot, hot, hot, other][at])).collect();
        assert!(held.iter().flatten().count() == 4 && strangers.quota.count() == 4);
        drop(held);
        assert_eq!(strangers.quota.count(), 0);
        assert!(strangers.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn control_messages_have_a_pace() {
        let mut controls = ControlFrames::default();
        for _ in 0..2 {
            let burst = (0..2 * CONTROLS_MAX).filter(|_| controls.take()).count();
            assert_eq!(burst, CONTROLS_MAX as usize);
            sleep(Duration::from_secs(1)).await;
            let second = (0..CONTROLS_MAX).filter(|_| controls.take()).count();
            assert_eq!(second, CONTROLS_PER_SECOND as usize);
            // A long rest makes up for no more than what is allowed at once.
            sleep(Duration::from_hours(1)).await;
        }
        for _ in 0..1_000 {
            assert!(controls.take());
            sleep(Duration::from_secs(1) / CONTROLS_PER_SECOND).await;
        }
    }
}
