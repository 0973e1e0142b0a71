//! How many sockets are open at once: of all, and of one team, which has at most half. Those whose key is not
//! known yet are strangers: they have a share, and each address a part of it, so that nobody without a key keeps
//! others out. A socket whose key comes with its upgrade is none.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use uuid::Uuid;

use crate::shares::{Share, Shares};

/// Sockets of this process at most.
const SOCKETS_MAX: usize = 4_096;
/// Of these, sockets of one team at most.
const SOCKETS_OF_TEAM_MAX: usize = SOCKETS_MAX / 2;
/// Of these, strangers at most.
const STRANGERS_MAX: usize = SOCKETS_MAX / 4;
/// Of these, sockets of one address at most: each says who it is in a moment, and then another may.
pub const STRANGERS_OF_PEER_MAX: usize = STRANGERS_MAX / 8;
/// Control messages of a socket at once at most, and then in a second.
pub const CONTROLS_MAX: u32 = 100;
const CONTROLS_PER_SECOND: u32 = 20;

/// The sockets that are open.
pub struct Sockets {
    places: Arc<Semaphore>,
    strangers: Arc<Shares<IpAddr>>,
    of_team: Arc<Shares<Uuid>>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(SOCKETS_MAX)),
            strangers: Shares::new(STRANGERS_MAX, STRANGERS_OF_PEER_MAX),
            of_team: Shares::new(SOCKETS_MAX, SOCKETS_OF_TEAM_MAX),
        }
    }
}

/// What a socket counts as until it has said which key it goes by.
pub enum Admitted {
    Stranger(#[expect(dead_code, reason = "held, not looked at")] Share<IpAddr>),
    Known(#[expect(dead_code, reason = "held, not looked at")] Share<Uuid>),
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
            None => Admitted::Stranger(self.strangers.take(Some(peer))?),
        };
        Some((Arc::clone(&self.places).try_acquire_owned().ok()?, admitted))
    }

    /// The place of a socket among its team's; `None` if the team has too many. An operator has no team.
    pub fn of(&self, team_id: Option<Uuid>) -> Option<Share<Uuid>> {
        self.of_team.take(team_id)
    }
}

/// The pace of a socket's control messages: pings, pongs, and the ends of what is not under way. They cost the
/// client nothing and are not charged, so without a bound one client would keep a processor busy.
pub struct Controls {
    /// When as many may be sent at once as ever.
    full_at: Instant,
}

impl Default for Controls {
    fn default() -> Self {
        Self { full_at: Instant::now() }
    }
}

impl Controls {
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

    #[tokio::test(start_paused = true)]
    async fn control_messages_have_a_pace() {
        let mut controls = Controls::default();
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
