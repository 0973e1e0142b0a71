//! How many sockets are open at once: of all, and of one team, which has at most half. Those that have not
//! said yet who they are have a share, and each address a part of it, so that nobody without a key keeps
//! others out.

use std::{net::IpAddr, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::shares::{Share, Shares};

/// Sockets of this process at most.
const SOCKETS_MAX: usize = 4_096;
/// Of these, sockets of one team at most.
const SOCKETS_OF_TEAM_MAX: usize = SOCKETS_MAX / 2;
/// Of these, sockets that have not said yet who they are at most.
const STRANGERS_MAX: usize = SOCKETS_MAX / 4;
/// Of these, sockets of one address at most: it says who it is in a moment, and then another may.
pub const STRANGERS_OF_PEER_MAX: usize = STRANGERS_MAX / 8;

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

impl Sockets {
    /// The place of another socket, and the one that it has until it has said who it is; `None` if there are
    /// too many.
    pub fn open(&self, peer: IpAddr) -> Option<(OwnedSemaphorePermit, Share<IpAddr>)> {
        let stranger = self.strangers.take(Some(peer))?;
        Some((Arc::clone(&self.places).try_acquire_owned().ok()?, stranger))
    }

    /// The place of a socket among its team's; `None` if the team has too many. Who runs the server has no
    /// team.
    pub fn of(&self, team_id: Option<Uuid>) -> Option<Share<Uuid>> {
        self.of_team.take(team_id)
    }
}
