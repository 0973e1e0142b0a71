//! Turns of requests with many fields. A field that waits for rows takes some 8 KB, and all fields of a request are
//! executed at the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    db::{FairScheduler, Scope, Slot},
    domain::{billing::Deadline, caller::Caller},
};

/// Estimated fields of a request that waits for no others.
const FEW: usize = 100;
/// Estimated fields of a team's other requests that are executed at the same time; the largest request has as many.
const OF_TEAM_MAX: usize = 5_000;

/// The turns of all teams.
#[derive(Clone)]
pub struct FieldPermits(Arc<FairScheduler>);

/// The turn of one request.
pub struct FieldPermit {
    turns: FieldPermits,
    scope: Scope,
    fields: usize,
    held: Mutex<Option<Slot>>,
}

impl Default for FieldPermits {
    fn default() -> Self {
        Self(Arc::new(FairScheduler::new(2 * OF_TEAM_MAX)))
    }
}

impl FieldPermits {
    /// Waits until so many fields may be executed for the caller; `None` if that takes longer than its patience.
    pub async fn wait(
        &self,
        caller: &Caller,
        fields: u64,
        deadline: &Deadline,
    ) -> Option<FieldPermit> {
        let fields = usize::try_from(fields).unwrap_or(usize::MAX);
        let (turns, held) = (self.clone(), Mutex::new(None));
        let turn = FieldPermit { turns, scope: caller.into(), fields, held };
        if fields > FEW {
            deadline.wait_for(turn.take()).await?;
        }
        Some(turn)
    }
}

impl FieldPermit {
    /// Gives the turn to others while a mutation waits, for the fields of its payload are not executed before. They
    /// wait for a turn again, and do without once the patience is over: what was done must be answered.
    pub async fn lend<T, E>(
        &self,
        deadline: &Deadline,
        waits: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let lent = self.held().take().is_some();
        let given = waits.await?;
        if lent {
            deadline.wait_for(self.take()).await;
        }
        Ok(given)
    }

    async fn take(&self) {
        let turn = self.turns.0.acquire_many(self.scope, self.fields).await;
        *self.held() = Some(turn);
    }

    fn held(&self) -> MutexGuard<'_, Option<Slot>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::{Duration, Instant};
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_lent_and_taken_back_within_the_patience() {
        let turns = FieldPermits::default();
        let id = Uuid::from_u128(1);
        let scope = Scope::Account { team_id: id, account_id: id };
        let all = || {
            let (turns, held) = (turns.clone(), Mutex::new(None));
            FieldPermit { turns, scope, fields: OF_TEAM_MAX, held }
        };
        let (one, other) = (all(), all());
        one.take().await;
        assert!(other.take().now_or_never().is_none(), "the team's fields are taken");

        let deadline = Deadline::until(Instant::now() + Duration::from_secs(10));
        let used_by_another = async {
            other.take().await;
            Ok::<_, ()>(())
        };
        one.lend(&deadline, used_by_another).await.expect("it is lent");
        assert!(one.held().is_none(), "the other one kept it until the patience was over");
        drop(other.held().take());

        one.take().await;
        one.lend(&deadline, async { Ok::<_, ()>(other.take().now_or_never()) }).await.expect("so");
        assert!(one.held().is_none() && other.held().is_some());
        drop(other.held().take());
        let fresh = Deadline::until(Instant::now() + Duration::from_secs(10));
        one.take().await;
        one.lend(&fresh, async { Ok::<_, ()>(()) }).await.expect("nobody else wants it");
        assert!(one.held().is_some());
        one.lend(&fresh, async { Err::<(), _>("refused") }).await.expect_err("it is refused");
        assert!(one.held().is_none(), "an error has few fields");
    }
}
