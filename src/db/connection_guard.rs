//! A guard that returns its connection to the pool or closes it. If the guard is dropped in the middle of a statement,
//! because the request ended or an error occurred, the connection is closed.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::{ConnAcquireErr, DbErr, sqlx};
use tokio::time::Instant;

use super::{
    error::query_error,
    fair_scheduler::Slot,
    outages::{OUTAGE_CHARGE_MAX, Outages},
    pooled_connection::PooledConnection,
    read_budget::ReadBudget,
};

/// Closes the connection when the guard is dropped, unless the connection has been released.
pub(super) struct ConnectionGuard(Option<Acquired>);

/// A connection in use, and the slot that is released when the connection is no longer used.
pub(super) struct Acquired {
    pub connection: PooledConnection,
    pub slot: Slot,
    pub since: Instant,
    pub budget: Option<Arc<ReadBudget>>,
    pub outages: Arc<Mutex<Outages>>,
}

impl ConnectionGuard {
    pub fn new(acquired: Acquired) -> Self {
        Self(Some(acquired))
    }

    pub fn connection(&mut self) -> Result<&mut PooledConnection, DbErr> {
        let closed = DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        self.0.as_mut().map(|acquired| &mut acquired.connection).ok_or(closed)
    }

    /// Returns the connection to the pool. No statement may be running on the connection.
    pub fn release(&mut self) {
        if let Some(acquired) = self.0.take() {
            acquired.end(true);
        }
    }

    /// Returns the connection to the pool, or closes it if the result of the statement shows that the connection cannot
    /// be used again.
    pub fn release_after<T>(mut self, done: Result<T, sqlx::Error>) -> Result<T, DbErr> {
        if done.as_ref().err().is_none_or(is_reusable_after) {
            self.release();
        }
        done.map_err(query_error)
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if let Some(acquired) = self.0.take() {
            acquired.end(false);
        }
    }
}

impl Acquired {
    fn end(self, is_reusable: bool) {
        let Self { connection, slot, since, budget, outages } = self;
        let now = Instant::now();
        let charged = match connection {
            PooledConnection::Sqlite(_) => now - since,
            PooledConnection::Postgres(_) if is_reusable => {
                let mut outages = outages.lock().unwrap_or_else(PoisonError::into_inner);
                outages.note_answer(now);
                outages.charged(since, now)
            }
            PooledConnection::Postgres(_) => (now - since).min(OUTAGE_CHARGE_MAX),
        };
        if is_reusable {
            drop(connection);
        } else {
            connection.close();
        }
        // The slot is released after the connection, so that the next holder of the slot finds the connection in the
        // pool.
        drop(slot);
        if let Some(budget) = budget {
            budget.charge(charged);
        }
    }
}

/// Returns whether the connection can be used after this error. It can if the database refused a statement but did not
/// end the session. PostgreSQL ends a session on an operator's command or during its own shutdown (class 57P), and
/// after the timeout for idle transactions (25P03).
fn is_reusable_after(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(refused) = error else { return false };
    refused.code().is_none_or(|code| !code.starts_with("57P") && code != "25P03")
}
