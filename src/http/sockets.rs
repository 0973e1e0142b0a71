//! How many sockets are open at once: of all, and of one team, which has at most half.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

/// Sockets of this process at most.
const SOCKETS_MAX: usize = 4_096;
/// Of these, sockets of one team at most.
const SOCKETS_OF_TEAM_MAX: usize = SOCKETS_MAX / 2;

/// The sockets that are open.
pub struct Sockets {
    places: Arc<Semaphore>,
    of_team: Arc<Mutex<HashMap<Uuid, usize>>>,
}

impl Default for Sockets {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(SOCKETS_MAX)), of_team: Arc::default() }
    }
}

/// One of a team's sockets, while this is kept.
pub struct TeamSocket {
    team_id: Uuid,
    of_team: Arc<Mutex<HashMap<Uuid, usize>>>,
}

impl Sockets {
    /// The place of another socket, whose team is not known yet; `None` if there are too many.
    pub fn open(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// The place of a socket among its team's; `None` if the team has too many.
    pub fn of(&self, team_id: Uuid) -> Option<TeamSocket> {
        let mut open = lock(&self.of_team);
        let count = open.entry(team_id).or_default();
        if *count == SOCKETS_OF_TEAM_MAX {
            return None;
        }
        *count += 1;
        Some(TeamSocket { team_id, of_team: Arc::clone(&self.of_team) })
    }
}

impl Drop for TeamSocket {
    fn drop(&mut self) {
        let mut open = lock(&self.of_team);
        let count = open.get_mut(&self.team_id).expect("a team's open socket is counted");
        *count -= 1;
        if *count == 0 {
            open.remove(&self.team_id);
        }
    }
}

/// The counts are whole whenever nobody holds them.
fn lock(of_team: &Mutex<HashMap<Uuid, usize>>) -> MutexGuard<'_, HashMap<Uuid, usize>> {
    of_team.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_has_at_most_half_of_the_sockets() {
        let (sockets, hot, other) = (Sockets::default(), Uuid::from_u128(1), Uuid::from_u128(2));
        let mut open: Vec<_> =
            (0..SOCKETS_OF_TEAM_MAX).map(|_| sockets.of(hot).expect("a place")).collect();

        assert!(sockets.of(hot).is_none());
        assert!(sockets.of(other).is_some());
        open.pop();
        let again = sockets.of(hot);
        assert!(again.is_some() && sockets.of(hot).is_none());
        drop((open, again));
        assert!(lock(&sockets.of_team).is_empty());
    }
}
