//! How many requests are worked on at once, and how many may wait for that. Who waits costs next to
//! nothing, so overload is waited out for as long as that is worth it; what comes beyond is refused before
//! anything is done for it. One team takes at most half, of the places and of the room to wait.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use moka::future::Cache;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};
use uuid::Uuid;

use super::{Shared, answer::too_busy, negotiation::negotiate};

/// Requests that are worked on at once at most. Measured with two processors: 64 of one team keep them busy,
/// and with 384 a refusal took 300 ms instead of 70, because it waited for its turn behind them.
const PLACES_MAX: usize = 192;
/// Of these, requests of one team at most, so that a team whose requests hang leaves room for others.
pub const PLACES_OF_TEAM_MAX: usize = PLACES_MAX / 2;
/// Requests that are held at once at most, those that wait for a place among them.
pub const HELD_MAX: usize = 6_144;
/// Of these, requests of one team at most.
const HELD_OF_TEAM_MAX: usize = HELD_MAX / 2;
/// How long a request waits for a place: what comes later would hardly be in time.
const PLACE_PATIENCE: Duration = Duration::from_secs(2);
/// Who is refused and asks again at once does not take the processor from those who are served.
const REFUSAL_REST: Duration = Duration::from_millis(10);
/// A team that asked nothing for so long has no request left.
const TEAM_KNOWN_FOR: Duration = Duration::from_mins(10);
const TEAMS_KNOWN_MAX: u64 = 10_000;

/// The places, and the room to wait for one, of all and of each team.
pub struct Places {
    held: Arc<Semaphore>,
    places: Arc<Semaphore>,
    teams: Cache<Uuid, Arc<OfTeam>>,
}

struct OfTeam {
    held: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let teams = Cache::builder().max_capacity(TEAMS_KNOWN_MAX).time_to_idle(TEAM_KNOWN_FOR);
        Self {
            held: Arc::new(Semaphore::new(HELD_MAX)),
            places: Arc::new(Semaphore::new(PLACES_MAX)),
            teams: teams.build(),
        }
    }
}

/// A place among the requests that are worked on, and among those of the team.
pub struct Place(#[expect(dead_code, reason = "held, not looked at")] Vec<OwnedSemaphorePermit>);

impl Places {
    /// The place of a caller of this team, who waits for one for a while; `None` if that is in vain.
    pub async fn of(&self, team_id: Option<Uuid>) -> Option<Place> {
        let until = Instant::now() + PLACE_PATIENCE;
        let mut place = Vec::with_capacity(3);
        // Who runs the server has no team.
        if let Some(team_id) = team_id {
            let of_team = self.teams.get_with(team_id, async { Arc::default() }).await;
            let Ok(held) = Arc::clone(&of_team.held).try_acquire_owned() else {
                sleep(REFUSAL_REST).await;
                return None;
            };
            place.push(held);
            place.push(acquire(&of_team.places, until).await?);
        }
        place.push(acquire(&self.places, until).await?);
        Some(Place(place))
    }
}

impl Default for OfTeam {
    fn default() -> Self {
        Self {
            held: Arc::new(Semaphore::new(HELD_OF_TEAM_MAX)),
            places: Arc::new(Semaphore::new(PLACES_OF_TEAM_MAX)),
        }
    }
}

async fn acquire(places: &Arc<Semaphore>, until: Instant) -> Option<OwnedSemaphorePermit> {
    // Without the clock where there is a place, as there is nearly always.
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Some(place);
    }
    timeout_at(until, Arc::clone(places).acquire_owned()).await.ok()?.ok()
}

/// Holds a request, or refuses it. Whether the server is alive can always be asked.
pub async fn admit(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    if request.uri().path() != "/graphql" {
        return next.run(request).await;
    }
    let Ok(_held) = Arc::clone(&shared.places.held).try_acquire_owned() else {
        let begun = Instant::now();
        sleep(REFUSAL_REST).await;
        shared.app.metrics.note_request("none", "UNAVAILABLE", begun.elapsed());
        return too_busy(negotiate(request.headers()).unwrap_or_default());
    };
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_team_has_at_most_half_of_the_places_and_waits_two_seconds_for_one() {
        let places = Places::default();
        let (hot, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let mut taken = Vec::new();
        for _ in 0..PLACES_OF_TEAM_MAX {
            taken.push(places.of(hot).await.expect("a place"));
        }
        let begun = Instant::now();

        assert!(places.of(hot).await.is_none());
        assert_eq!(begun.elapsed(), PLACE_PATIENCE);
        assert!(places.of(other).await.is_some());
        assert!(places.of(None).await.is_some());
        taken.pop();
        assert!(places.of(hot).await.is_some());
        assert_eq!(begun.elapsed(), PLACE_PATIENCE);
    }
}
