//! Limits how many fields are executed at the same time. The number is limited because all fields
//! of a request are executed concurrently, and a field that waits for rows takes about 8 KB.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    db::{FairScheduler, Scope, Slot},
    domain::{caller::Caller, deadline::Deadline},
};

/// Maximum estimated number of fields in a request that is executed without a permit for its
/// fields.
pub const FIELDS_WITHOUT_WAITING_MAX: usize = 100;
/// Maximum estimated number of fields that are executed at the same time in the larger requests of
/// a team. This is also the maximum number of fields in one request.
pub const FIELDS_OF_TEAM_MAX: usize = 5_000;

/// The field permits of all teams.
#[derive(Clone)]
pub struct FieldPermits(Arc<FairScheduler>);

/// The permit to execute the fields of one request. It is released when this value is dropped.
pub struct FieldPermit {
    permits: FieldPermits,
    scope: Scope,
    fields: usize,
    held: Mutex<Option<Slot>>,
}

impl Default for FieldPermits {
    fn default() -> Self {
        Self(Arc::new(FairScheduler::new(2 * FIELDS_OF_TEAM_MAX)))
    }
}

impl FieldPermits {
    /// Waits until this many fields may be executed for the caller. Returns `None` if this is not
    /// possible before the deadline.
    pub async fn wait(
        &self,
        caller: &Caller,
        fields: u64,
        deadline: &Deadline,
    ) -> Option<FieldPermit> {
        let fields = usize::try_from(fields).unwrap_or(usize::MAX);
        let (permits, held) = (self.clone(), Mutex::new(None));
        let permit = FieldPermit { permits, scope: caller.into(), fields, held };
        if fields > FIELDS_WITHOUT_WAITING_MAX {
            deadline.wait_for(permit.acquire()).await?;
        }
        Some(permit)
    }
}

impl FieldPermit {
    /// Releases the permit while a mutation waits for its result, because the fields of the payload
    /// are executed only afterwards. Then acquires the permit again. If the deadline passes first,
    /// the payload is executed without a permit, because a completed mutation must be answered.
    pub async fn lend<T, E>(
        &self,
        deadline: &Deadline,
        mutation: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let was_held = self.held().take().is_some();
        let result = mutation.await?;
        if was_held {
            deadline.wait_for(self.acquire()).await;
        }
        Ok(result)
    }

    async fn acquire(&self) {
        let slot = self.permits.0.acquire_many(self.scope, self.fields).await;
        *self.held() = Some(slot);
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
    async fn a_permit_is_released_during_a_mutation_and_acquired_again_before_the_deadline() {
        let permits = FieldPermits::default();
        let id = Uuid::from_u128(1);
        let scope = Scope::Account { team_id: id, account_id: id };
        let maximum = || {
            let (permits, held) = (permits.clone(), Mutex::new(None));
            FieldPermit { permits, scope, fields: FIELDS_OF_TEAM_MAX, held }
        };
        let (one, other) = (maximum(), maximum());
        one.acquire().await;
        assert!(other.acquire().now_or_never().is_none(), "the team has no permit left");

        let deadline = Deadline::until(Instant::now() + Duration::from_secs(10));
        let acquired_by_another = async {
            other.acquire().await;
            Ok::<_, ()>(())
        };
        one.lend(&deadline, acquired_by_another).await.expect("the mutation succeeds");
        assert!(one.held().is_none(), "the other request held the permit until the deadline");
        drop(other.held().take());

        one.acquire().await;
        one.lend(&deadline, async { Ok::<_, ()>(other.acquire().now_or_never()) })
            .await
            .expect("the mutation succeeds");
        assert!(one.held().is_none() && other.held().is_some());
        drop(other.held().take());
        let later = Deadline::until(Instant::now() + Duration::from_secs(10));
        one.acquire().await;
        one.lend(&later, async { Ok::<_, ()>(()) }).await.expect("the mutation succeeds");
        assert!(one.held().is_some());
        one.lend(&later, async { Err::<(), _>("refused") }).await.expect_err("the mutation fails");
        assert!(one.held().is_none(), "a failed mutation has no payload to execute");
    }
}
