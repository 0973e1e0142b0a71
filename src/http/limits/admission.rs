//! How many requests are worked on at once, and how many may wait for that. A request asks for a place when its
//! caller is known and its body is here, so that a slow client keeps nothing from others. Overload is waited
//! out for as long as that is worth it; what comes beyond is refused. One team takes at most half, of the
//! places and of the room to wait.

use std::{
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

use moka::sync::Cache;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout_at},
};
use uuid::Uuid;

/// Requests that are worked on at once at most. Measured with two processors: 64 of one team keep them busy,
/// and with 384 a refusal took four times as long, because it waited for its turn behind them.
pub const PERMITS_MAX: usize = 192;
/// Of these, requests of one team at most, so that a team whose requests hang leaves room for others.
pub const PERMITS_OF_TEAM_MAX: usize = PERMITS_MAX / 2;
/// Requests that are held at once at most, those that wait for a place among them.
pub const HELD_MAX: usize = 6_144;
/// Of these, requests of one team at most.
pub const HELD_OF_TEAM_MAX: usize = HELD_MAX / 2;
/// How long a request waits for a place: what comes later would hardly be in time.
pub const PERMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Refusals of a second for each processor; more of them wait. Clients that ask again at once would else take
/// the processors from those who are served: measured on one, 10,000 refusals a second left these a tenth of
/// their peak, and 6,000 half of it.
pub const REFUSALS_PER_SECOND: u32 = 3_000;
/// So much of that time may be made up for: refusals that come in a burst do not wait.
const REFUSAL_BURST: Duration = Duration::from_millis(100);
/// No refusal waits longer, however many there are.
pub const REFUSAL_DELAY_MAX: Duration = Duration::from_millis(500);
/// A team that asked nothing for so long has no request left.
const TEAM_IDLE_MAX: Duration = Duration::from_mins(10);
const TEAMS_REMEMBERED_MAX: u64 = 10_000;

/// The places, and the room to wait for one, of all and of each team.
pub struct RequestPermits {
    held: Arc<Semaphore>,
    request_permits: Arc<Semaphore>,
    teams: Cache<Uuid, Arc<OfTeam>>,
    refusals: Refusals,
}

struct OfTeam {
    held: Arc<Semaphore>,
    request_permits: Arc<Semaphore>,
}

impl Default for RequestPermits {
    fn default() -> Self {
        let teams = Cache::builder().max_capacity(TEAMS_REMEMBERED_MAX).time_to_idle(TEAM_IDLE_MAX);
        Self {
            held: Arc::new(Semaphore::new(HELD_MAX)),
            request_permits: Arc::new(Semaphore::new(PERMITS_MAX)),
            teams: teams.build(),
            refusals: Refusals::default(),
        }
    }
}

/// The pace of refusals.
struct Refusals {
    every: Duration,
    next: Mutex<Instant>,
}

impl Default for Refusals {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        let per_second = REFUSALS_PER_SECOND.saturating_mul(processors);
        Self { every: Duration::from_secs(1) / per_second, next: Mutex::new(Instant::now()) }
    }
}

impl Refusals {
    /// Waits for the turn of one more refusal.
    async fn turn(&self) {
        let now = Instant::now();
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).clamp(now - REFUSAL_BURST, now + REFUSAL_DELAY_MAX);
            *next = turn + self.every;
            turn
        };
        if turn > now {
            sleep_until(turn).await;
        }
    }
}

/// A place among the requests that are worked on, and among those of the team.
pub struct RequestPermit(
    #[expect(dead_code, reason = "held, not looked at")] Vec<OwnedSemaphorePermit>,
);

impl RequestPermits {
    /// Waits for the turn of a refusal that its client has not paid for.
    pub async fn refusal(&self) {
        self.refusals.turn().await;
    }

    /// The place of a caller of this team, who waits for one for a while; `None` if that is in vain.
    pub async fn of(&self, team_id: Option<Uuid>) -> Option<RequestPermit> {
        let until = Instant::now() + PERMIT_TIMEOUT;
        let mut permit = Vec::with_capacity(4);
        // An operator has no team.
        let of_team = team_id.map(|team_id| self.teams.get_with(team_id, Arc::default));
        let of_team = of_team.as_deref();
        for held in of_team.map(|of_team| &of_team.held).into_iter().chain([&self.held]) {
            let Ok(held) = Arc::clone(held).try_acquire_owned() else {
                drop(permit);
                self.refusals.turn().await;
                return None;
            };
            permit.push(held);
        }
        for request_permits in of_team
            .map(|of_team| &of_team.request_permits)
            .into_iter()
            .chain([&self.request_permits])
        {
            permit.push(acquire(request_permits, until).await?);
        }
        Some(RequestPermit(permit))
    }
}

impl Default for OfTeam {
    fn default() -> Self {
        Self {
            held: Arc::new(Semaphore::new(HELD_OF_TEAM_MAX)),
            request_permits: Arc::new(Semaphore::new(PERMITS_OF_TEAM_MAX)),
        }
    }
}

async fn acquire(request_permits: &Arc<Semaphore>, until: Instant) -> Option<OwnedSemaphorePermit> {
    // Without the clock where there is a place, as there is nearly always.
    if let Ok(permit) = Arc::clone(request_permits).try_acquire_owned() {
        return Some(permit);
    }
    timeout_at(until, Arc::clone(request_permits).acquire_owned()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_team_has_at_most_half_of_the_places_and_waits_two_seconds_for_one() {
        let request_permits = RequestPermits::default();
        let (hot, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let mut taken = Vec::new();
        for _ in 0..PERMITS_OF_TEAM_MAX {
            taken.push(request_permits.of(hot).await.expect("a place"));
        }
        let begun = Instant::now();

        assert!(request_permits.of(hot).await.is_none());
        assert_eq!(begun.elapsed(), PERMIT_TIMEOUT);
        assert!(request_permits.of(other).await.is_some());
        assert!(request_permits.of(None).await.is_some());
        taken.pop();
        assert!(request_permits.of(hot).await.is_some());
        assert_eq!(begun.elapsed(), PERMIT_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_team_waits_in_half_of_the_room_and_is_refused_at_once_beyond() {
        let request_permits = RequestPermits::default();
        let (hot, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let crowd = (0..=HELD_OF_TEAM_MAX).map(|_| async {
            let begun = Instant::now();
            (request_permits.of(hot).await, begun.elapsed())
        });
        let of_other = async {
            // After the crowd has come, and long before it has gone.
            sleep(Duration::from_secs(1)).await;
            assert!(request_permits.of(other).await.is_some());
        };

        let (answers, ()) = tokio::join!(join_all(crowd), of_other);

        let refused_at_once =
            answers.iter().filter(|(permit, waited)| permit.is_none() && *waited < PERMIT_TIMEOUT);
        assert_eq!(refused_at_once.count(), 1);
        let has_place = answers.iter().filter(|(permit, _)| permit.is_some());
        assert_eq!(has_place.count(), PERMITS_OF_TEAM_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_come_at_their_pace_and_wait_half_a_second_at_most() {
        let refusals = Refusals { every: Duration::from_millis(10), ..Refusals::default() };
        // Milliseconds that so many refusals at once wait.
        let waits = async |count: usize| {
            let begun = Instant::now();
            let turns = (0..count).map(|_| async {
                refusals.turn().await;
                begun.elapsed().as_millis()
            });
            join_all(turns).await
        };

        for _ in 0..2 {
            // What is made up for after a rest, and no more.
            sleep(Duration::from_mins(1)).await;
            let burst = waits(13).await;
            assert_eq!((&burst[..11], &burst[11..]), (&[0; 11][..], &[10, 20][..]));
            assert_eq!(waits(2).await, [10, 20]);
        }
        let crowd = waits(1_000).await;
        assert_eq!((&crowd[..7], crowd[999]), (&[10, 20, 30, 40, 50, 60, 70][..], 500));
    }
}
