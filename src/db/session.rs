//! A pooled connection with the state of its session, and the manager that opens and checks pooled connections.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection, PgConnection, SqliteConnection};

use super::{
    options::IDLE_TIMEOUT,
    row_security::{SET_SCOPE, Scope},
};

/// Maximum age of a connection. It limits the memory that PostgreSQL uses for a session.
const AGE_MAX: Duration = Duration::from_mins(30);
/// Number of steps of the `SQLite` virtual machine after which a statement checks whether it has been canceled. This
/// number of steps takes much less than a millisecond.
const SQLITE_STEPS: i32 = 10_000;
/// Makes PostgreSQL end a statement whose client has disconnected.
///
/// PostgreSQL before version 14 and some operating systems do not support this setting. The statement then ends after
/// `statement_timeout`.
const POSTGRES_CHECK: &str = "SET client_connection_check_interval = '500ms'";

/// A connection, and the scope that was last set in the connection's session.
pub(super) struct Session<C> {
    pub connection: C,
    scope: Option<Scope>,
    is_canceled: Arc<AtomicBool>,
}

impl<C> Session<C> {
    /// Closes the connection. If a statement is running on the connection, the statement is ended.
    pub fn cancel(self) {
        self.is_canceled.store(true, Ordering::Relaxed);
    }
}

impl Session<PgConnection> {
    /// Sets the scope of the session, unless the scope is already set. After an error, the scope of the session is
    /// unknown, and the connection must be closed.
    pub async fn set_scope(&mut self, scope: Scope) -> Result<(), sqlx::Error> {
        if self.scope == Some(scope) {
            return Ok(());
        }
        let [role, team_id, account_id] = scope.settings();
        let set = sqlx::query(SET_SCOPE).bind(role).bind(team_id).bind(account_id);
        set.execute(&mut self.connection).await?;
        self.scope = Some(scope);
        Ok(())
    }
}

/// A connection whose running statement can be ended.
pub(super) trait Cancelable: Connection {
    /// Prepares a new connection. When the flag is set and the connection is dropped, the running statement then ends
    /// soon.
    fn cancel_when(
        &mut self,
        is_canceled: Arc<AtomicBool>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Cancelable for SqliteConnection {
    /// Makes running statements check the flag. Otherwise the driver's thread would run a statement to its end.
    async fn cancel_when(&mut self, is_canceled: Arc<AtomicBool>) -> Result<(), sqlx::Error> {
        let goes_on = move || !is_canceled.load(Ordering::Relaxed);
        self.lock_handle().await?.set_progress_handler(SQLITE_STEPS, goes_on);
        Ok(())
    }
}

impl Cancelable for PgConnection {
    async fn cancel_when(&mut self, _: Arc<AtomicBool>) -> Result<(), sqlx::Error> {
        match sqlx::raw_sql(POSTGRES_CHECK).execute(self).await {
            Ok(_) | Err(sqlx::Error::Database(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Opens the connections of a pool.
pub(super) struct ConnectionManager<C: Connection>(pub C::Options);

impl<C: Cancelable> Manager for ConnectionManager<C> {
    type Type = Session<C>;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Session<C>, sqlx::Error> {
        let mut connection = self.0.connect().await?;
        let is_canceled = Arc::<AtomicBool>::default();
        connection.cancel_when(Arc::clone(&is_canceled)).await?;
        Ok(Session { connection, scope: None, is_canceled })
    }

    async fn recycle(
        &self,
        session: &mut Session<C>,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        if metrics.age() > AGE_MAX {
            return Err(RecycleError::message("the connection has reached its maximum age"));
        }
        if metrics.last_used() > IDLE_TIMEOUT {
            session.connection.ping().await?;
        }
        Ok(())
    }
}
