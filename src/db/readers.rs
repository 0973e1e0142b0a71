//! Connections for reading. They are not in sqlx's pool, because that pool pings each connection that is returned to
//! it. The ping would double the round trips of every read.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{TryStreamExt as _, stream::BoxStream};
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement,
    StreamTrait,
    sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions},
};
use tokio::sync::Mutex;

use super::{
    connection_guard::ConnectionGuard,
    error::query_error,
    read_budget::ReadBudget,
    read_pool::{ReadContext, ReadPool},
    row_security::{RowSecurity, Scope},
};

/// Connections for reading.
#[derive(Clone)]
pub struct Readers {
    pool: ReadPool,
    statements: Statements,
    context: ReadContext,
}

impl Readers {
    /// Prepares connections to PostgreSQL. `connections` is their maximum number. Each connection is opened when it is
    /// first needed.
    pub fn on_postgres(
        options: PgConnectOptions,
        connections: u32,
        row_security: RowSecurity,
    ) -> Self {
        let scope = (row_security == RowSecurity::On).then_some(Scope::All);
        let mut readers = Self::new(ReadPool::on_postgres(options, connections));
        readers.context.scope = scope;
        readers
    }

    /// Prepares connections to `SQLite`. `connections` is their maximum number. Each connection is opened when it is
    /// first needed.
    pub fn on_sqlite(options: SqliteConnectOptions, connections: u32) -> Self {
        Self::new(ReadPool::on_sqlite(options, connections))
    }

    fn new(pool: ReadPool) -> Self {
        Self { pool, statements: Statements::default(), context: ReadContext::default() }
    }

    /// Returns the same connections, restricted to this scope. Without row security, only the filters in the statements
    /// restrict the rows.
    #[must_use]
    pub fn within(&self, scope: Scope) -> Self {
        let scope = self.context.scope.map(|_| scope);
        Self { context: ReadContext { scope, ..self.context.clone() }, ..self.clone() }
    }

    /// Returns the same connections for the request of a caller with this scope. The request's reads wait for slots
    /// (see [`ReadBudget`]).
    #[must_use]
    pub fn of_request(&self, scope: Scope, budget: Arc<ReadBudget>) -> Self {
        let mut readers = self.within(scope);
        readers.context.request = Some((budget, scope.into()));
        readers
    }

    /// Returns the number of statements that have been run so far.
    pub fn statements(&self) -> usize {
        self.statements.count.load(Ordering::Relaxed)
    }

    /// Returns the same connections with a function that rewrites all statements. Tests use it to remove a part of all
    /// statements, and check whether the results depend on that part.
    #[must_use]
    pub fn with_sql_rewriter(self, rewrite_sql: fn(&str) -> String) -> Self {
        let statements = Statements { rewrite_sql: Some(rewrite_sql), ..self.statements };
        Self { statements, ..self }
    }

    /// Begins a transaction whose statements all read the same snapshot.
    pub async fn snapshot(&self) -> Result<Snapshot, DbErr> {
        let mut guard = self.pool.acquire(&self.context).await?;
        guard.connection()?.begin_snapshot().await.map_err(query_error)?;
        let backend = self.pool.backend();
        Ok(Snapshot { backend, statements: self.statements.clone(), guard: Mutex::new(guard) })
    }

    /// Closes the idle connections. Later reads fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Runs a read, and ends the read early if its request is abandoned.
    async fn unless_abandoned<T>(
        &self,
        read: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let Some((budget, _)) = &self.context.request else { return read.await };
        tokio::select! {
            biased;
            done = read => done,
            () = budget.abandoned() => {
                Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed))
            }
        }
    }
}

/// Counts statements, and rewrites them in tests.
#[derive(Clone, Default)]
struct Statements {
    count: Arc<AtomicUsize>,
    rewrite_sql: Option<fn(&str) -> String>,
}

impl Statements {
    /// Counts and logs a statement that is about to run. The logged SQL contains no values.
    fn note(&self, mut statement: Statement) -> Statement {
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some(rewrite_sql) = self.rewrite_sql {
            statement.sql = rewrite_sql(&statement.sql);
        }
        tracing::trace!(sql = statement.sql, "Reading");
        statement
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Readers {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let statement = self.statements.note(statement);
        let read = async {
            let mut guard = self.pool.acquire(&self.context).await?;
            let done = guard.connection()?.execute(statement).await;
            guard.release_after(done)
        };
        self.unless_abandoned(read).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.pool.backend(), sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let statement = self.statements.note(statement);
        let read = async {
            let mut guard = self.pool.acquire(&self.context).await?;
            let row = guard.connection()?.one(statement).await;
            guard.release_after(row)
        };
        self.unless_abandoned(read).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let statement = self.statements.note(statement);
        let read = async {
            let mut guard = self.pool.acquire(&self.context).await?;
            let rows = guard.connection()?.all(statement).await;
            guard.release_after(rows)
        };
        self.unless_abandoned(read).await
    }
}

/// Streams are for reading many rows one by one. Dropping a stream before its last row closes the connection.
impl StreamTrait for Readers {
    type Stream<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

    fn get_database_backend(&self) -> DbBackend {
        self.pool.backend()
    }

    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        let statement = self.statements.note(statement);
        Box::pin(async move {
            let mut guard = self.unless_abandoned(self.pool.acquire(&self.context)).await?;
            let rows: Self::Stream<'a> = Box::pin(async_stream::try_stream! {
                {
                    let mut rows = guard.connection()?.stream(statement).map_err(query_error);
                    while let Some(row) = self.unless_abandoned(rows.try_next()).await? {
                        yield row;
                    }
                }
                guard.release();
            });
            Ok(rows)
        })
    }
}

/// A read-only transaction that sees the database as it was at one moment.
pub struct Snapshot {
    backend: DbBackend,
    statements: Statements,
    guard: Mutex<ConnectionGuard>,
}

impl Snapshot {
    /// Ends the transaction. If the snapshot is dropped instead, its connection is closed.
    pub async fn end(self) -> Result<(), DbErr> {
        let mut guard = self.guard.into_inner();
        let statement = Statement::from_string(self.backend, "ROLLBACK");
        let done = guard.connection()?.execute(statement).await;
        guard.release_after(done).map(drop)
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Snapshot {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let statement = self.statements.note(statement);
        self.guard.lock().await.connection()?.execute(statement).await.map_err(query_error)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.backend, sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let statement = self.statements.note(statement);
        self.guard.lock().await.connection()?.one(statement).await.map_err(query_error)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let statement = self.statements.note(statement);
        self.guard.lock().await.connection()?.all(statement).await.map_err(query_error)
    }
}
