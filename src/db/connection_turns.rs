//! Turns to read, to write and to introspect, shared fairly between teams. The pool lends its connections in the order of asking, so one team must not fill that queue:
//! the reads of a request wait for one of the request's own turns, then for one of its team's, and only then for
//! a connection. While a read waits for the first two it holds nothing that another team could need.
//!
//! Writes of requests take turns likewise. All of them together leave some connections of the pool to the worker, and a
//! team has half of the others at most: teams whose writes wait for their rows keep neither the worker nor, each for
//! itself, another team waiting. `SQLite` has one connection that writes, and a team one place in its queue. Sends have
//! writers and a queue of their own (`domain::billing`).
//!
//! A read that holds a connection never waits for another one, which could be its own: rows that are read one by
//! one are not looked up in between.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::row_security::Scope;

/// Connections that one request holds at the same time at most. Its fields are resolved concurrently.
pub const OF_REQUEST_MAX: usize = 2;
/// How long a statement goes on that nobody waits for any more. It is ended by closing its connection, and a new
/// connection costs more than most statements.
const ABANDONED_AFTER: Duration = Duration::from_millis(250);
/// Connections of the pool for writing that requests leave to the worker on `PostgreSQL`.
pub const OF_WORKER: usize = 2;
/// Holders that are known before those without a read are looked for and forgotten.
const SWEEP_FROM: usize = 64;

/// What the reads of one request may take, and where their time goes.
pub struct ReadBudget {
    turns: Arc<Semaphore>,
    charge: Box<dyn Fn(Duration) + Send + Sync>,
    gone: Option<CancellationToken>,
}

impl ReadBudget {
    /// `charge` is told how long each statement held a connection, also if the statement was abandoned. Once
    /// `gone` is cancelled nobody waits for the request: its reads end soon, and fail.
    pub fn new(
        charge: impl Fn(Duration) + Send + Sync + 'static,
        gone: Option<CancellationToken>,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(OF_REQUEST_MAX));
        Self { turns, charge: Box::new(charge), gone }
    }

    pub(super) fn charge(&self, time: Duration) {
        (self.charge)(time);
    }

    /// Returns once the request's statements are to be ended; never for most requests.
    pub(super) async fn abandoned(&self) {
        match &self.gone {
            Some(gone) => gone.cancelled().await,
            None => std::future::pending().await,
        }
        sleep(ABANDONED_AFTER).await;
    }
}

/// Whose reads share a part of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// All operators together.
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

/// The turns of all holders.
pub struct Turns {
    of_holder_max: usize,
    /// Those of all holders together, where they have fewer than there are connections.
    of_all: Option<Arc<Semaphore>>,
    known: Mutex<Known>,
}

struct Known {
    holders: HashMap<Holder, Arc<Semaphore>>,
    sweep_at: usize,
}

/// A turn of a request or of all holders, and one of the holder, for as long as this is kept.
#[derive(Default)]
pub struct Turn(
    #[expect(dead_code, reason = "held, not looked at")] [Option<OwnedSemaphorePermit>; 2],
);

impl Turns {
    /// A holder has at most half of so many connections at the same time.
    pub fn new(connections: usize) -> Self {
        let of_holder_max = connections.div_ceil(2).max(1);
        let known = Known { holders: HashMap::new(), sweep_at: SWEEP_FROM };
        Self { of_holder_max, of_all: None, known: Mutex::new(known) }
    }

    /// The turns of requests for a pool of so many connections that they share with the worker: they leave it
    /// [`OF_WORKER`], but have one at least.
    pub fn beside_the_worker(connections: usize) -> Self {
        let of_all = connections.saturating_sub(OF_WORKER).max(1);
        let of_all = of_all.min(Semaphore::MAX_PERMITS);
        let of_holder_max = (of_all / 2).max(1);
        Self { of_holder_max, of_all: Some(Arc::new(Semaphore::new(of_all))), ..Self::new(1) }
    }

    /// Waits for a turn within the budget of a request, and then for one of the holder.
    pub(super) async fn wait(&self, budget: &ReadBudget, holder: Holder) -> Turn {
        let of_request = acquire(Arc::clone(&budget.turns)).await;
        let of_holder = acquire(self.of(holder)).await;
        Turn([Some(of_request), Some(of_holder)])
    }

    /// Waits for a turn of a team, or of the operators.
    pub async fn wait_as(&self, scope: impl Into<Scope>) -> Turn {
        let holder = Holder::from(scope.into());
        let of_holder = acquire(self.of(holder)).await;
        let of_all = match &self.of_all {
            Some(of_all) => Some(acquire(Arc::clone(of_all)).await),
            None => None,
        };
        Turn([of_all, Some(of_holder)])
    }

    /// The same for so many turns at once, or for all of the holder's if they are fewer.
    pub async fn wait_many_as(&self, scope: impl Into<Scope>, count: usize) -> Turn {
        let turns = self.of(Holder::from(scope.into()));
        let count = u32::try_from(count.min(self.of_holder_max)).unwrap_or(u32::MAX);
        let taken = turns.acquire_many_owned(count).await.expect("turns are never closed");
        Turn([None, Some(taken)])
    }

    fn of(&self, holder: Holder) -> Arc<Semaphore> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = known.holders.get(&holder) {
            return Arc::clone(turns);
        }
        if known.holders.len() >= known.sweep_at {
            // Whoever reads or waits has a reference, and new ones are given under this lock alone.
            known.holders.retain(|_, turns| Arc::strong_count(turns) > 1);
            known.sweep_at = SWEEP_FROM.max(known.holders.len() * 2);
        }
        let turns = Arc::new(Semaphore::new(self.of_holder_max));
        known.holders.insert(holder, Arc::clone(&turns));
        turns
    }
}

async fn acquire(turns: Arc<Semaphore>) -> OwnedSemaphorePermit {
    turns.acquire_owned().await.expect("turns are never closed")
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::join_all};
    use tokio::time::Instant;

    use super::*;

    const STATEMENT: Duration = Duration::from_millis(10);
    const HOT: Holder = Holder::Team(Uuid::from_u128(1));
    const OTHER: Holder = Holder::Team(Uuid::from_u128(2));

    /// Turns for a pool, which lends in the order of asking as this semaphore does.
    struct Stage {
        turns: Turns,
        pool: Semaphore,
    }

    impl Stage {
        fn new(connections: usize) -> Self {
            Self { turns: Turns::new(connections), pool: Semaphore::new(connections) }
        }

        /// One statement.
        async fn read(&self, budget: &ReadBudget, holder: Holder) {
            let _turn = self.turns.wait(budget, holder).await;
            let _connection = self.pool.acquire().await.expect("it is open");
            sleep(STATEMENT).await;
        }

        /// So many statements of one request each, all at once: how long each of them took, in statements.
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

    #[tokio::test(start_paused = true)]
    async fn a_holder_has_at_most_half_of_the_connections_and_one_at_least() {
        for (connections, of_one) in [(1, 1), (2, 1), (3, 2), (4, 2), (8, 4)] {
            let stage = Stage::new(connections);
            let taken = stage.requests(2 * of_one + 1, HOT).await;
            let mut expected = vec![1; of_one];
            expected.extend(vec![2; of_one]);
            expected.push(3);
            assert_eq!(taken, expected, "{connections} connections");
        }
    }

    #[tokio::test]
    async fn requests_leave_two_connections_to_the_worker_and_a_team_half_of_the_others() {
        for (connections, of_team, of_all) in
            [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 2), (8, 3, 6), (9, 3, 7), (16, 7, 14)]
        {
            let turns = Turns::beside_the_worker(connections);
            let mut held = Vec::new();
            for team in 1..=5 {
                let scope =
                    Scope::Account { team_id: Uuid::from_u128(team), account_id: Uuid::nil() };
                let mut of_this = 0;
                while let Some(turn) = turns.wait_as(scope).now_or_never() {
                    held.push(turn);
                    of_this += 1;
                }
                let left = of_all - (held.len() - of_this);
                assert_eq!(of_this, left.min(of_team), "{connections} connections");
            }
            assert_eq!(held.len(), of_all, "{connections} connections");
            held.pop();
            let scope = Scope::Account { team_id: Uuid::from_u128(9), account_id: Uuid::nil() };
            assert!(turns.wait_as(scope).now_or_never().is_some(), "a turn comes back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_turns_are_taken_at_once_or_waited_for() {
        let turns = Turns::new(20);
        let scope = |team| {
            let id = Uuid::from_u128(team);
            Scope::Account { team_id: id, account_id: id }
        };
        let held = turns.wait_many_as(scope(1), 7).await;
        let fits = turns.wait_many_as(scope(1), 3).await;
        let late = tokio::time::timeout(STATEMENT, turns.wait_many_as(scope(1), 1)).await;
        assert!(late.is_err(), "the team has ten");
        drop(turns.wait_many_as(scope(2), 10).await);
        drop((held, fits));
        // More than all are all.
        let all = turns.wait_many_as(scope(1), 1_000).await;
        let late = tokio::time::timeout(STATEMENT, turns.wait_many_as(scope(1), 1)).await;
        assert!(late.is_err());
        drop(all);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_one_team_delays_nobody_else() {
        let stage = Stage::new(4);
        let (crowd, others, operators) = tokio::join!(
            stage.requests(96, HOT),
            stage.requests(1, OTHER),
            stage.requests(1, Holder::Operators)
        );
        assert_eq!((crowd[95], others, operators), (48, vec![1], vec![1]));
    }

    /// With more crowds than there are halves, each read waits for one statement of each of them.
    #[tokio::test(start_paused = true)]
    async fn crowds_take_turns() {
        let stage = Stage::new(4);
        let crowds = (10..16).map(|team| stage.requests(50, Holder::Team(Uuid::from_u128(team))));
        let late = async {
            sleep(STATEMENT * 5 / 2).await;
            let begun = Instant::now();
            stage.read(&budget(), OTHER).await;
            begun.elapsed()
        };
        let (_, late) = tokio::join!(join_all(crowds), late);
        // Twelve statements of six crowds by four connections, of which a part has run, and its own.
        assert!(late <= STATEMENT * 4, "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_has_two_connections_at_most() {
        let stage = Stage::new(8);
        let (one, sibling) = (budget(), budget());
        let begun = Instant::now();
        let fields = (0..5).map(|_| async {
            stage.read(&one, HOT).await;
            begun.elapsed().as_millis() / STATEMENT.as_millis()
        });
        let sibling = async {
            stage.read(&sibling, HOT).await;
            begun.elapsed().as_millis() / STATEMENT.as_millis()
        };
        let (fields, sibling) = tokio::join!(join_all(fields), sibling);
        assert_eq!((fields, sibling), (vec![1, 1, 2, 2, 3], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_given_up_leaves_nothing_behind() {
        let stage = Stage::new(2);
        let held = stage.turns.wait(&budget(), HOT).await;
        let late = budget();
        for _ in 0..10 {
            let wait = stage.turns.wait(&late, HOT);
            assert!(tokio::time::timeout(STATEMENT, wait).await.is_err());
        }
        drop(held);
        assert_eq!(late.turns.available_permits(), OF_REQUEST_MAX);
        assert_eq!(stage.requests(1, HOT).await, [1]);
    }

    #[tokio::test]
    async fn holders_without_a_read_are_forgotten() {
        let turns = Turns::new(4);
        let team = |n: usize| Holder::Team(Uuid::from_u128(n as u128));
        let held = turns.wait(&budget(), team(0)).await;
        for n in 1..=10 * SWEEP_FROM {
            drop(turns.wait(&budget(), team(n)).await);
        }
        let known = |holder| turns.known.lock().expect("no panic").holders.contains_key(&holder);
        assert!(known(team(0)) && !known(team(1)));
        assert!(turns.known.lock().expect("no panic").holders.len() <= SWEEP_FROM);
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_nobody_waits_for_has_a_moment_to_end() {
        let gone = CancellationToken::new();
        let budget = ReadBudget::new(|_| {}, Some(gone.clone()));
        let soon = tokio::time::timeout(ABANDONED_AFTER * 10, budget.abandoned());
        assert!(soon.await.is_err());
        gone.cancel();
        let begun = Instant::now();
        budget.abandoned().await;
        assert_eq!(begun.elapsed(), ABANDONED_AFTER);
    }
}
