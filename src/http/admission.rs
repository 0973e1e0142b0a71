//! How many requests are worked on at once: what comes beyond is refused before anything is done for it,
//! so that overload costs next to nothing, and one team cannot take every place.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use moka::future::Cache;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::graphql;

/// Requests that are worked on at once at most.
pub const PLACES_MAX: usize = 768;
/// Of these, requests of one team at most, so that a team whose requests hang leaves room for others.
pub const PLACES_OF_TEAM_MAX: usize = PLACES_MAX / 2;
/// How long a request waits for a place: a burst is smoothed, and who is refused and asks again at once
/// does not take the processor from those who are served.
const PLACE_PATIENCE: Duration = Duration::from_millis(20);
/// A team that asked nothing for so long has no request left.
const TEAM_KNOWN_FOR: Duration = Duration::from_mins(10);
const TEAMS_KNOWN_MAX: u64 = 10_000;

/// The places of all and of each team.
pub struct Places {
    all: Arc<Semaphore>,
    teams: Cache<Uuid, Arc<Semaphore>>,
}

impl Default for Places {
    fn default() -> Self {
        let teams = Cache::builder().max_capacity(TEAMS_KNOWN_MAX).time_to_idle(TEAM_KNOWN_FOR);
        Self { all: Arc::new(Semaphore::new(PLACES_MAX)), teams: teams.build() }
    }
}

/// A place among the requests that are worked on; kept until its last copy is dropped.
#[derive(Clone)]
pub struct Place {
    places: Arc<Places>,
    permit: Arc<OwnedSemaphorePermit>,
    /// Until when its request waits.
    until: Instant,
}

/// A place among all requests and among those of a team.
pub struct TeamPlace {
    _permit: Arc<OwnedSemaphorePermit>,
    _of_team: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// The place of a caller of this team; `None` if the team has all of its own.
    pub async fn of_team(&self, team_id: Option<Uuid>) -> Option<TeamPlace> {
        let of_team = match team_id {
            // Who runs the server has no team.
            None => None,
            Some(team_id) => {
                let places = async { Arc::new(Semaphore::new(PLACES_OF_TEAM_MAX)) };
                let places = self.places.teams.get_with(team_id, places).await;
                Some(timeout_at(self.until, places.acquire_owned()).await.ok()?.ok()?)
            }
        };
        Some(TeamPlace { _permit: Arc::clone(&self.permit), _of_team: of_team })
    }
}

/// Gives a request a place, or refuses it. Whether the server is alive can always be asked.
pub async fn admit(
    State(places): State<Arc<Places>>,
    mut request: Request,
    next: Next,
) -> Response {
    if request.uri().path() == "/graphql" {
        let until = Instant::now() + PLACE_PATIENCE;
        let permit = timeout_at(until, Arc::clone(&places.all).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else { return graphql::too_busy() };
        request.extensions_mut().insert(Place { places, permit: Arc::new(permit), until });
    }
    next.run(request).await
}
