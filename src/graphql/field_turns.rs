//! Turns of requests with many fields. A field that waits for rows takes some 8 KB, and all fields of a request are
//! executed at the same time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    db::{Scope, Turn, Turns},
    domain::{billing::Patience, caller::Caller},
};

/// Estimated fields of a request that waits for no others.
const FEW: usize = 100;
/// Estimated fields of a team's other requests that are executed at the same time; the largest request has as many.
const OF_TEAM_MAX: usize = 5_000;

/// The turns of all teams.
#[derive(Clone)]
pub struct FieldTurns(Arc<Turns>);

/// The turn of one request.
pub struct FieldsTurn {
    turns: FieldTurns,
    scope: Scope,
    fields: usize,
    held: Mutex<Option<Turn>>,
}

impl Default for FieldTurns {
    fn default() -> Self {
        Self(Arc::new(Turns::new(2 * OF_TEAM_MAX)))
    }
}

impl FieldTurns {
    /// Waits until so many fields may be executed for the caller; `None` if that takes longer than its patience.
    pub async fn wait(
        &self,
        caller: &Caller,
        fields: u64,
        patience: &Patience,
    ) -> Option<FieldsTurn> {
        let fields = usize::try_from(fields).unwrap_or(usize::MAX);
        let (turns, held) = (self.clone(), Mutex::new(None));
        let turn = FieldsTurn { turns, scope: caller.into(), fields, held };
        patience.wait_for(turn.take()).await?;
        Some(turn)
    }
}

impl FieldsTurn {
    /// Gives the turn to others while a mutation waits: the fields of its payload are not executed before. They then
    /// wait for their turn however long it takes, because the mutation may have been done.
    pub async fn lend<T>(&self, waits: impl Future<Output = T>) -> T {
        drop(self.held().take());
        let given = waits.await;
        self.take().await;
        given
    }

    async fn take(&self) {
        if self.fields > FEW {
            let turn = self.turns.0.wait_many_as(self.scope, self.fields).await;
            *self.held() = Some(turn);
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Turn>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
