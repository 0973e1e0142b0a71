//! Shares connections and other limited resources fairly between teams. A pool serves its waiters in order, so one busy
//! team could fill the pool's queue. Callers therefore first wait for a slot of their team, and only then for a
//! connection.
//!
//! A read that occupies a connection must not wait for a second connection. Otherwise it could be waiting for the
//! connection that it occupies itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{read_budget::ReadBudget, row_security::Scope};

/// Number of connections in the write pool on `PostgreSQL` that requests leave to the worker.
pub const WORKER_CONNECTIONS: usize = 2;
/// Minimum number of known holders at which holders without a slot are removed.
const SWEEP_FROM: usize = 64;

/// A holder of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// All operators together are one holder.
    Operators,
    Team(Uuid),
}

impl From<Scope> for Holder {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::All => Self::Operators,
            Scope::Account { team_id, .. } => Self::Team(team_id),
        }
    }
}

/// Assigns slots to teams, with a limit for each team.
pub struct FairScheduler {
    holder_max: usize,
    /// The slots of all holders in total; `None` if their number is not limited.
    total: Option<Arc<Semaphore>>,
    known: Mutex<Known>,
}

struct Known {
    holders: HashMap<Holder, Arc<Semaphore>>,
    sweep_at: usize,
}

/// One or more slots of a holder and, if needed, a slot of the request or of the total. The slots are released when
/// this value is dropped.
#[derive(Default)]
pub struct Slot(
    #[expect(dead_code, reason = "held until it is dropped")] [Option<OwnedSemaphorePermit>; 2],
);

impl FairScheduler {
    /// Creates a scheduler in which each holder may have half of the slots, but at least one.
    pub fn new(slots: usize) -> Self {
        let holder_max = slots.div_ceil(2).max(1);
        let known = Known { holders: HashMap::new(), sweep_at: SWEEP_FROM };
        Self { holder_max, total: None, known: Mutex::new(known) }
    }

    /// Creates a scheduler for a pool that requests share with the worker. Requests leave [`WORKER_CONNECTIONS`] to the
    /// worker, but they may always use one connection. Each holder may have half of the remaining slots.
    pub fn shared_with_worker(connections: usize) -> Self {
        Self::with_total(connections.saturating_sub(WORKER_CONNECTIONS))
    }

    /// Creates a scheduler with `total` slots, of which each holder may have half, but at least one.
    pub fn with_total(total: usize) -> Self {
        let total = total.clamp(1, Semaphore::MAX_PERMITS);
        let holder_max = (total / 2).max(1);
        Self { holder_max, total: Some(Arc::new(Semaphore::new(total))), ..Self::new(1) }
    }

    /// Waits for a slot of the request, and then for a slot of the holder. While a request waits, it occupies no
    /// connection that another team could need.
    pub(super) async fn acquire_for_request(&self, budget: &ReadBudget, holder: Holder) -> Slot {
        let of_request = acquire(Arc::clone(&budget.slots)).await;
        let of_holder = acquire(self.slots_of(holder)).await;
        Slot([Some(of_request), Some(of_holder)])
    }

    /// Waits for a slot of the team, or of the operators if the scope has no team.
    pub async fn acquire(&self, scope: impl Into<Scope>) -> Slot {
        self.acquire_as(Holder::from(scope.into())).await
    }

    /// Waits for a slot of the team.
    pub async fn acquire_for_team(&self, team_id: Uuid) -> Slot {
        self.acquire_as(Holder::Team(team_id)).await
    }

    async fn acquire_as(&self, holder: Holder) -> Slot {
        let of_holder = acquire(self.slots_of(holder)).await;
        let of_total = match &self.total {
            Some(total) => Some(acquire(Arc::clone(total)).await),
            None => None,
        };
        Slot([of_total, Some(of_holder)])
    }

    /// Waits for `count` slots and takes them together. If the holder may not have that many slots, takes all slots
    /// that the holder may have.
    pub async fn acquire_many(&self, scope: impl Into<Scope>, count: usize) -> Slot {
        let slots = self.slots_of(Holder::from(scope.into()));
        let count = u32::try_from(count.min(self.holder_max)).unwrap_or(u32::MAX);
        let taken = slots.acquire_many_owned(count).await.expect("the semaphore is never closed");
        Slot([None, Some(taken)])
    }

    fn slots_of(&self, holder: Holder) -> Arc<Semaphore> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = known.holders.get(&holder) {
            return Arc::clone(slots);
        }
        if known.holders.len() >= known.sweep_at {
            // Every holder or waiter has a reference to the semaphore, and new references are made only under this
            // lock.
            known.holders.retain(|_, slots| Arc::strong_count(slots) > 1);
            known.sweep_at = SWEEP_FROM.max(known.holders.len() * 2);
        }
        let slots = Arc::new(Semaphore::new(self.holder_max));
        known.holders.insert(holder, Arc::clone(&slots));
        slots
    }
}

async fn acquire(slots: Arc<Semaphore>) -> OwnedSemaphorePermit {
    slots.acquire_owned().await.expect("the semaphore is never closed")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{FutureExt as _, future::join_all};
    use tokio::time::{Instant, sleep, timeout};

    use super::super::read_budget::REQUEST_CONNECTIONS_MAX;
    use super::*;

    const STATEMENT: Duration = Duration::from_millis(10);
    const BUSY: Holder = Holder::Team(Uuid::from_u128(1));
    const OTHER: Holder = Holder::Team(Uuid::from_u128(2));

    /// A scheduler in front of a pool. Like a semaphore, the pool serves its waiters in order.
    struct Setup {
        scheduler: FairScheduler,
        pool: Semaphore,
    }

    impl Setup {
        fn new(connections: usize) -> Self {
            let pool = Semaphore::new(connections);
            Self { scheduler: FairScheduler::new(connections), pool }
        }

        /// Runs one statement.
        async fn read(&self, budget: &ReadBudget, holder: Holder) {
            let _slot = self.scheduler.acquire_for_request(budget, holder).await;
            let _connection = self.pool.acquire().await.expect("the pool is open");
            sleep(STATEMENT).await;
        }

        /// Runs `count` requests with one statement each at the same time. Returns how long each
        /// request took, in multiples of [`STATEMENT`].
        async fn requests(&self, count: usize, holder: Holder) -> Vec<u128> {
            let begun = Instant::now();
            let reads = (0..count).map(|_| async {
                self.read(&budget(), holder).await;
                begun.elapsed().as_millis() / STATEMENT.as_millis()
            });
            join_all(reads).await
        }
    }

    fn budget() -> ReadBudget {
        ReadBudget::new(|_| {}, None)
    }

    fn team(n: u128) -> Scope {
        let id = Uuid::from_u128(n);
        Scope::Account { team_id: id, account_id: id }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_has_at_most_half_of_the_connections_and_at_least_one() {
        for (connections, holder_max) in [(1, 1), (2, 1), (3, 2), (4, 2), (8, 4)] {
            let setup = Setup::new(connections);
            let times = setup.requests(2 * holder_max + 1, BUSY).await;
            let mut expected = vec![1; holder_max];
            expected.extend(vec![2; holder_max]);
            expected.push(3);
            assert_eq!(times, expected, "{connections} connections");
        }
    }

    #[tokio::test]
    async fn requests_leave_two_connections_to_the_worker_and_a_team_gets_half_of_the_rest() {
        for (connections, team_max, total) in
            [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 2), (8, 3, 6), (9, 3, 7), (16, 7, 14)]
        {
            let scheduler = FairScheduler::shared_with_worker(connections);
            let mut held = Vec::new();
            for n in 1..=5 {
                let mut of_team = 0;
                while let Some(slot) = scheduler.acquire(team(n)).now_or_never() {
                    held.push(slot);
                    of_team += 1;
                }
                let left = total - (held.len() - of_team);
                assert_eq!(of_team, left.min(team_max), "{connections} connections");
            }
            assert_eq!(held.len(), total, "{connections} connections");
            held.pop();
            let released = scheduler.acquire(team(9)).now_or_never();
            assert!(released.is_some(), "a dropped slot is available again");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn several_slots_are_acquired_at_the_same_time() {
        let scheduler = FairScheduler::new(20);
        let held = scheduler.acquire_many(team(1), 7).await;
        let fits = scheduler.acquire_many(team(1), 3).await;
        let late = timeout(STATEMENT, scheduler.acquire_many(team(1), 1)).await;
        assert!(late.is_err(), "the team has ten slots");
        drop(scheduler.acquire_many(team(2), 10).await);
        drop((held, fits));
        // A request for more slots than the team may have gets all of the team's slots.
        let all = scheduler.acquire_many(team(1), 1_000).await;
        let late = timeout(STATEMENT, scheduler.acquire_many(team(1), 1)).await;
        assert!(late.is_err());
        drop(all);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_team_delays_no_other_team() {
        let setup = Setup::new(4);
        let (busy, other, operators) = tokio::join!(
            setup.requests(96, BUSY),
            setup.requests(1, OTHER),
            setup.requests(1, Holder::Operators)
        );
        assert_eq!((busy[95], other, operators), (48, vec![1], vec![1]));
    }

    /// With more busy teams than connections, a read waits for about one statement of each busy team.
    #[tokio::test(start_paused = true)]
    async fn busy_teams_share_the_connections() {
        let setup = Setup::new(4);
        let busy = (10..16).map(|n| setup.requests(50, Holder::Team(Uuid::from_u128(n))));
        let late = async {
            sleep(STATEMENT * 5 / 2).await;
            let begun = Instant::now();
            setup.read(&budget(), OTHER).await;
            begun.elapsed()
        };
        let (_, late) = tokio::join!(join_all(busy), late);
        // Twelve statements from six teams on four connections take three times [`STATEMENT`], and the late read takes
        // one more.
        assert!(late <= STATEMENT * 4, "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_at_most_two_connections() {
        let setup = Setup::new(8);
        let (one, sibling) = (budget(), budget());
        let begun = Instant::now();
        let fields = (0..5).map(|_| async {
            setup.read(&one, BUSY).await;
            begun.elapsed().as_millis() / STATEMENT.as_millis()
        });
        let sibling = async {
            setup.read(&sibling, BUSY).await;
            begun.elapsed().as_millis() / STATEMENT.as_millis()
        };
        let (fields, sibling) = tokio::join!(join_all(fields), sibling);
        assert_eq!((fields, sibling), (vec![1, 1, 2, 2, 3], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_canceled_wait_leaks_no_slot() {
        let setup = Setup::new(2);
        let held = setup.scheduler.acquire_for_request(&budget(), BUSY).await;
        let late = budget();
        for _ in 0..10 {
            let wait = setup.scheduler.acquire_for_request(&late, BUSY);
            assert!(timeout(STATEMENT, wait).await.is_err());
        }
        drop(held);
        assert_eq!(late.slots.available_permits(), REQUEST_CONNECTIONS_MAX);
        assert_eq!(setup.requests(1, BUSY).await, [1]);
    }

    #[tokio::test]
    async fn holders_without_a_slot_are_removed() {
        let scheduler = FairScheduler::new(4);
        let team = |n: usize| Holder::Team(Uuid::from_u128(n as u128));
        let held = scheduler.acquire_for_request(&budget(), team(0)).await;
        for n in 1..=10 * SWEEP_FROM {
            drop(scheduler.acquire_for_request(&budget(), team(n)).await);
        }
        let known =
            |holder| scheduler.known.lock().expect("no panic").holders.contains_key(&holder);
        assert!(known(team(0)) && !known(team(1)));
        assert!(scheduler.known.lock().expect("no panic").holders.len() <= SWEEP_FROM);
        drop(held);
    }
}
