//! Executes each long introspection in a separate thread, one at a time for each team. In a thread
//! of the runtime, an introspection would block other tasks, because async-graphql executes it
//! without yielding.

use std::{panic::resume_unwind, sync::Arc};

use async_graphql::{Executor, Request, Response, ServerError};
use tokio::{runtime::Handle, task::spawn_blocking};
use uuid::Uuid;

use crate::{
    db,
    domain::{caller::Caller, deadline::Deadline},
    graphql::errors,
    limits::quota::{Permit, Quota},
};

/// Maximum number of long introspections that are running or waiting.
const INTROSPECTIONS_MAX: usize = 256;
/// Maximum number of long introspections that are running or waiting for one team. Each of them
/// also occupies one of the team's request permits.
pub const INTROSPECTIONS_OF_TEAM_MAX: usize = 8;

/// The introspection permits of all teams.
pub struct IntrospectionPermits {
    scheduler: db::FairScheduler,
    quota: Arc<Quota<Uuid>>,
}

/// The permit to execute one long introspection. It is released when this value is dropped.
pub struct IntrospectionPermit(
    #[expect(dead_code, reason = "released on drop")] (db::Slot, Permit<Uuid>),
);

impl Default for IntrospectionPermits {
    fn default() -> Self {
        let quota = Quota::new(INTROSPECTIONS_MAX, INTROSPECTIONS_OF_TEAM_MAX);
        Self { scheduler: db::FairScheduler::new(1), quota }
    }
}

impl IntrospectionPermits {
    /// Waits until the caller may execute a long introspection. Fails with UNAVAILABLE if the
    /// caller's team already has too many of them, or if the deadline passes.
    pub async fn wait(
        &self,
        caller: &Caller,
        deadline: &Deadline,
    ) -> Result<IntrospectionPermit, ServerError> {
        let permit = self.quota.take(caller.team_scope());
        let permit = permit.ok_or_else(|| {
            errors::unavailable(
                "This team already has too many introspection queries in progress. Try again in a second.",
            )
        })?;
        let slot = deadline.wait_for(self.scheduler.acquire(caller)).await;
        let slot = slot.ok_or_else(|| {
            errors::unavailable(
                "Timed out while waiting for other introspection queries from this team. Try again.",
            )
        })?;
        Ok(IntrospectionPermit((slot, permit)))
    }
}

/// Executes an introspection in a separate thread, and then releases the permit.
pub async fn introspect(
    schema: impl Executor,
    request: Request,
    permit: IntrospectionPermit,
) -> Result<Response, ServerError> {
    let runtime = Handle::current();
    let executed = spawn_blocking(move || {
        let response = runtime.block_on(schema.execute(request));
        drop(permit);
        response
    });
    executed.await.map_err(|failed| match failed.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => errors::unavailable("The server is stopping. Try again."),
    })
}
