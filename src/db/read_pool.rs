//! The pools of connections for reading. Their slots are shared fairly between teams.

use std::sync::{Arc, Mutex};

use deadpool::managed::{Pool, PoolError};
use sea_orm::{
    ConnAcquireErr, DbBackend, DbErr,
    sqlx::{
        self, PgConnection, SqliteConnection, postgres::PgConnectOptions,
        sqlite::SqliteConnectOptions,
    },
};
use tokio::time::{Instant, timeout};

use super::{
    connection_guard::{Acquired, ConnectionGuard},
    error::{connection_error, query_error},
    fair_scheduler::{FairScheduler, Holder, Slot},
    options::ACQUIRE_TIMEOUT,
    outages::Outages,
    pooled_connection::PooledConnection,
    read_budget::ReadBudget,
    row_security::Scope,
    session::{Cancelable, ConnectionManager},
};

#[derive(Clone)]
pub(super) struct ReadPool {
    pool: BackendPool,
    scheduler: Arc<FairScheduler>,
    outages: Arc<Mutex<Outages>>,
}

#[derive(Clone)]
enum BackendPool {
    Postgres(Pool<ConnectionManager<PgConnection>>),
    Sqlite(Pool<ConnectionManager<SqliteConnection>>),
}

/// The scope and the budget of a read that needs a connection.
#[derive(Clone, Default)]
pub(super) struct ReadContext {
    /// The rows that the session may read; `None` without row security.
    pub scope: Option<Scope>,
    /// The request's budget, and the holder whose slots the request uses; `None` for the server's own work.
    pub request: Option<(Arc<ReadBudget>, Holder)>,
}

impl ReadPool {
    pub fn on_postgres(options: PgConnectOptions, connections: u32) -> Self {
        Self::new(connections, |size| BackendPool::Postgres(pool(options, size)))
    }

    pub fn on_sqlite(options: SqliteConnectOptions, connections: u32) -> Self {
        Self::new(connections, |size| BackendPool::Sqlite(pool(options, size)))
    }

    fn new(connections: u32, pool: impl FnOnce(usize) -> BackendPool) -> Self {
        let size = usize::try_from(connections).unwrap_or(usize::MAX);
        let outages = Arc::new(Mutex::new(Outages::new()));
        Self { pool: pool(size), scheduler: Arc::new(FairScheduler::new(size)), outages }
    }

    pub fn backend(&self) -> DbBackend {
        match &self.pool {
            BackendPool::Postgres(_) => DbBackend::Postgres,
            BackendPool::Sqlite(_) => DbBackend::Sqlite,
        }
    }

    /// Waits for a slot and a connection, and sets the scope of the connection's session.
    pub async fn acquire(&self, context: &ReadContext) -> Result<ConnectionGuard, DbErr> {
        let acquired = async {
            let slot = match &context.request {
                Some((budget, holder)) => self.scheduler.acquire_for_request(budget, *holder).await,
                None => Slot::default(),
            };
            let connection = match &self.pool {
                BackendPool::Postgres(pool) => PooledConnection::Postgres(pool.get().await?),
                BackendPool::Sqlite(pool) => PooledConnection::Sqlite(pool.get().await?),
            };
            Ok::<_, PoolError<sqlx::Error>>((connection, slot))
        };
        let (connection, slot) = match timeout(ACQUIRE_TIMEOUT, acquired).await {
            Ok(Ok(acquired)) => acquired,
            Ok(Err(PoolError::Backend(error))) => return Err(connection_error(error)),
            Ok(Err(_)) => {
                return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed));
            }
            Err(_) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        };
        let budget = context.request.as_ref().map(|(budget, _)| Arc::clone(budget));
        let outages = Arc::clone(&self.outages);
        let mut guard = ConnectionGuard::new(Acquired {
            connection,
            slot,
            since: Instant::now(),
            budget,
            outages,
        });
        if let (Some(scope), PooledConnection::Postgres(session)) =
            (context.scope, guard.connection()?)
        {
            // If setting the scope fails, or this future is dropped, the guard closes the connection.
            session.set_scope(scope).await.map_err(query_error)?;
        }
        Ok(guard)
    }

    /// Closes the idle connections. Callers that wait or come later get an error.
    pub async fn close(&self) {
        match &self.pool {
            BackendPool::Postgres(pool) => close(pool).await,
            BackendPool::Sqlite(pool) => close(pool).await,
        }
    }
}

fn pool<C: Cancelable>(options: C::Options, size: usize) -> Pool<ConnectionManager<C>> {
    let pool = Pool::builder(ConnectionManager(options)).max_size(size);
    pool.build().expect("a pool without timeouts needs no runtime")
}

async fn close<C: Cancelable>(pool: &Pool<ConnectionManager<C>>) {
    // The sessions are closed instead of dropped, so that the database is notified of their end.
    for session in pool.retain(|_, _| false).removed {
        let _ = session.connection.close().await;
    }
    pool.close();
}
