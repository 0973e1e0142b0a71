//! Long introspections: one at a time of each team, in a thread of its own. The library executes one without a pause,
//! in which the runtime's thread would serve nobody else.

use std::{panic::resume_unwind, sync::Arc};

use async_graphql::{Request, Response, ServerError};
use tokio::{runtime::Handle, task::spawn_blocking};
use uuid::Uuid;

use crate::{
    db,
    domain::{caller::Caller, deadline::Deadline},
    graphql::{errors, schema::TollgateSchema},
    limits::quota::{Permit, Quota},
};

/// Long introspections that run or wait, of all teams.
const UNDER_WAY_MAX: usize = 256;
/// The same of one team. Each holds one of the team's places for requests while it waits.
const UNDER_WAY_OF_TEAM_MAX: usize = 8;

/// The turns of all teams.
pub struct IntrospectionPermits {
    turns: db::Turns,
    under_way: Arc<Quota<Uuid>>,
}

/// The turn of one introspection, for as long as this is kept.
pub struct IntrospectionPermit(
    #[expect(dead_code, reason = "held, not looked at")] (db::Turn, Permit<Uuid>),
);

impl Default for IntrospectionPermits {
    fn default() -> Self {
        let under_way = Quota::new(UNDER_WAY_MAX, UNDER_WAY_OF_TEAM_MAX);
        Self { turns: db::Turns::new(1), under_way }
    }
}

impl IntrospectionPermits {
    /// Waits for the caller's turn as long as its patience lasts. Its team may have so many waiting.
    pub async fn wait(
        &self,
        caller: &Caller,
        deadline: &Deadline,
    ) -> Result<IntrospectionPermit, ServerError> {
        let place = self.under_way.take(caller.team_scope());
        let place = place.ok_or_else(|| {
            errors::unavailable(
                "Too many introspections of this team are under way; nothing was done. Try again in a second.",
            )
        })?;
        let turn = deadline.wait_for(self.turns.wait_as(caller)).await;
        let turn = turn.ok_or_else(|| {
            errors::unavailable(
                "Other introspections of this team took too long; nothing was done. Try again.",
            )
        })?;
        Ok(IntrospectionPermit((turn, place)))
    }
}

/// Executes an introspection in its turn.
pub async fn introspect(
    schema: TollgateSchema,
    request: Request,
    turn: IntrospectionPermit,
) -> Result<Response, ServerError> {
    let runtime = Handle::current();
    let executed = spawn_blocking(move || {
        let response = runtime.block_on(schema.execute(request));
        drop(turn);
        response
    });
    executed.await.map_err(|failed| match failed.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => errors::unavailable("The server is stopping; try again."),
    })
}
