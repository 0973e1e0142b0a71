//! Limits how many requests execute at the same time, and how many may wait for a permit to execute. A request asks for
//! a permit once its caller is known and its body has arrived. A slow client therefore never occupies a permit.
//! Requests wait during a short overload, and are refused during a longer one. One team gets at most half of the
//! permits and half of the queue.

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

/// Maximum number of requests that execute at the same time. Measured with two processors: 64 requests of one team keep
/// both processors busy. With 384 requests, a refusal took four times as long as with 64, because it was scheduled
/// after the executing requests.
pub const PERMITS_MAX: usize = 192;
/// Maximum number of requests of one team that execute at the same time, so that slow requests do not block other
/// teams.
pub const PERMITS_OF_TEAM_MAX: usize = PERMITS_MAX / 2;
/// Maximum number of requests that execute or wait for a permit.
pub const HELD_MAX: usize = 6_144;
/// Maximum number of requests of one team that execute or wait for a permit.
pub const HELD_OF_TEAM_MAX: usize = HELD_MAX / 2;
/// Maximum time that a request waits for a permit. A request that waited longer could hardly finish before its
/// deadline.
pub const PERMIT_TIMEOUT: Duration = Duration::from_secs(2);
/// Number of refusals per second and processor that are not delayed. The others are delayed because clients that retry
/// immediately would take the processors from accepted requests. Measured on one processor: 10,000 refusals per second
/// reduced accepted requests to a tenth of their peak, and 6,000 reduced them to half of it.
pub const REFUSALS_PER_SECOND: u32 = 3_000;
/// The size of the burst of refusals that is not delayed, given as the time in which [`REFUSALS_PER_SECOND`] allows as
/// many refusals.
const REFUSAL_BURST: Duration = Duration::from_millis(100);
/// Maximum delay of a refusal.
pub const REFUSAL_DELAY_MAX: Duration = Duration::from_millis(500);
/// A team that has sent no request for this time is forgotten. By then, none of its requests can still be running.
const TEAM_IDLE_MAX: Duration = Duration::from_mins(10);
const TEAMS_REMEMBERED_MAX: u64 = 10_000;

/// The request permits and the queue of requests that wait for them, for the server and for each team.
pub struct RequestPermits {
    server: Semaphores,
    teams: Cache<Uuid, Arc<Semaphores>>,
    refusals: RefusalPace,
}

struct Semaphores {
    /// Permits for requests that execute or wait.
    held: Arc<Semaphore>,
    /// Permits for requests that execute.
    executing: Arc<Semaphore>,
}

impl Semaphores {
    fn new(held: usize, executing: usize) -> Self {
        Self {
            held: Arc::new(Semaphore::new(held)),
            executing: Arc::new(Semaphore::new(executing)),
        }
    }
}

impl Default for RequestPermits {
    fn default() -> Self {
        let teams = Cache::builder().max_capacity(TEAMS_REMEMBERED_MAX).time_to_idle(TEAM_IDLE_MAX);
        Self {
            server: Semaphores::new(HELD_MAX, PERMITS_MAX),
            teams: teams.build(),
            refusals: RefusalPace::default(),
        }
    }
}

/// Spaces out refusals.
struct RefusalPace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Default for RefusalPace {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        let per_second = REFUSALS_PER_SECOND.saturating_mul(processors);
        Self { interval: Duration::from_secs(1) / per_second, next: Mutex::new(Instant::now()) }
    }
}

impl RefusalPace {
    /// Waits until the next refusal may be sent.
    async fn wait(&self) {
        let now = Instant::now();
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).clamp(now - REFUSAL_BURST, now + REFUSAL_DELAY_MAX);
            *next = at + self.interval;
            at
        };
        if at > now {
            sleep_until(at).await;
        }
    }
}

/// Permission to execute one request, counted for the server and for the team until it is dropped.
pub struct RequestPermit(
    #[expect(dead_code, reason = "only held until it is dropped")] Vec<OwnedSemaphorePermit>,
);

impl RequestPermits {
    /// Delays a refusal that is not charged to the client's rate limit.
    pub async fn delay_refusal(&self) {
        self.refusals.wait().await;
    }

    /// Waits up to [`PERMIT_TIMEOUT`] for a permit. Returns `None` if no permit becomes free in that time, or
    /// immediately if the queue is full. An operator has no team.
    pub async fn acquire(&self, team_id: Option<Uuid>) -> Option<RequestPermit> {
        let until = Instant::now() + PERMIT_TIMEOUT;
        let mut acquired = Vec::with_capacity(4);
        let team = team_id.map(|team_id| {
            let new = || Arc::new(Semaphores::new(HELD_OF_TEAM_MAX, PERMITS_OF_TEAM_MAX));
            self.teams.get_with(team_id, new)
        });
        let semaphores = || team.as_deref().into_iter().chain([&self.server]);
        for semaphores in semaphores() {
            let Ok(held) = Arc::clone(&semaphores.held).try_acquire_owned() else {
                drop(acquired);
                self.refusals.wait().await;
                return None;
            };
            acquired.push(held);
        }
        for semaphores in semaphores() {
            acquired.push(acquire(&semaphores.executing, until).await?);
        }
        Some(RequestPermit(acquired))
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, until: Instant) -> Option<OwnedSemaphorePermit> {
    // A permit is nearly always free. In that case no timer is needed.
    if let Ok(permit) = Arc::clone(semaphore).try_acquire_owned() {
        return Some(permit);
    }
    timeout_at(until, Arc::clone(semaphore).acquire_owned()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_team_gets_half_of_the_permits_and_waits_two_seconds_for_one() {
        let request_permits = RequestPermits::default();
        let (hot, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let mut taken = Vec::new();
        for _ in 0..PERMITS_OF_TEAM_MAX {
            taken.push(request_permits.acquire(hot).await.expect("a permit"));
        }
        let started = Instant::now();

        assert!(request_permits.acquire(hot).await.is_none());
        assert_eq!(started.elapsed(), PERMIT_TIMEOUT);
        assert!(request_permits.acquire(other).await.is_some());
        assert!(request_permits.acquire(None).await.is_some());
        taken.pop();
        assert!(request_permits.acquire(hot).await.is_some());
        assert_eq!(started.elapsed(), PERMIT_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_beyond_half_of_the_queue_is_refused_immediately() {
        let request_permits = RequestPermits::default();
        let (hot, other) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
        let requests = (0..=HELD_OF_TEAM_MAX).map(|_| async {
            let started = Instant::now();
            (request_permits.acquire(hot).await, started.elapsed())
        });
        let of_other = async {
            // Meanwhile, all requests of the other team are waiting.
            sleep(Duration::from_secs(1)).await;
            assert!(request_permits.acquire(other).await.is_some());
        };

        let (answers, ()) = tokio::join!(join_all(requests), of_other);

        let refused_immediately =
            answers.iter().filter(|(permit, waited)| permit.is_none() && *waited < PERMIT_TIMEOUT);
        assert_eq!(refused_immediately.count(), 1);
        let admitted = answers.iter().filter(|(permit, _)| permit.is_some());
        assert_eq!(admitted.count(), PERMITS_OF_TEAM_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_spaced_out_and_delayed_by_at_most_half_a_second() {
        let refusals =
            RefusalPace { interval: Duration::from_millis(10), ..RefusalPace::default() };
        // Returns the delays of `count` simultaneous refusals, in milliseconds.
        let waits = async |count: usize| {
            let started = Instant::now();
            let delays = (0..count).map(|_| async {
                refusals.wait().await;
                started.elapsed().as_millis()
            });
            join_all(delays).await
        };

        for _ in 0..2 {
            // After a minute without refusals, one burst is not delayed.
            sleep(Duration::from_mins(1)).await;
            let burst = waits(13).await;
            assert_eq!((&burst[..11], &burst[11..]), (&[0; 11][..], &[10, 20][..]));
            assert_eq!(waits(2).await, [10, 20]);
        }
        let many = waits(1_000).await;
        assert_eq!((&many[..7], many[999]), (&[10, 20, 30, 40, 50, 60, 70][..], 500));
    }
}
