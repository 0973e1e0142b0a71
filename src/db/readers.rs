//! Connections for reading. They go from one statement to the next without a question in between:
//! sqlx's own pool asks the database, with a round trip each time that a connection comes back, whether
//! it still lives, so that every read costs two.

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
    RowSecurity,
    connection_turns::ReadBudget,
    lease::{Borrower, Connections, Lease, query_error},
    row_security::Scope,
};

/// Connections for reading.
#[derive(Clone)]
pub struct Readers {
    connections: Connections,
    statements: Statements,
    borrower: Borrower,
}

impl Readers {
    /// At most so many connections, each made when it is first needed.
    pub fn on_postgres(
        options: PgConnectOptions,
        connections: u32,
        row_security: RowSecurity,
    ) -> Self {
        let scope = (row_security == RowSecurity::On).then_some(Scope::All);
        let mut readers = Self::new(Connections::on_postgres(options, connections));
        readers.borrower.scope = scope;
        readers
    }

    /// At most so many connections, each made when it is first needed.
    pub fn on_sqlite(options: SqliteConnectOptions, connections: u32) -> Self {
        Self::new(Connections::on_sqlite(options, connections))
    }

    fn new(connections: Connections) -> Self {
        Self { connections, statements: Statements::default(), borrower: Borrower::default() }
    }

    /// The same connections, for reading what this scope may see. Where there is no row security, only the
    /// statements' own filters hold.
    #[must_use]
    pub fn within(&self, scope: Scope) -> Self {
        let scope = self.borrower.scope.map(|_| scope);
        Self { borrower: Borrower { scope, ..self.borrower.clone() }, ..self.clone() }
    }

    /// The same for a request of somebody with this scope, who waits for turns: see [`ReadBudget`].
    #[must_use]
    pub fn of_request(&self, scope: Scope, budget: Arc<ReadBudget>) -> Self {
        let mut readers = self.within(scope);
        readers.borrower.request = Some((budget, scope.into()));
        readers
    }

    /// Statements read with so far.
    pub fn statements(&self) -> usize {
        self.statements.count.load(Ordering::Relaxed)
    }

    /// The same connections, whose statements are worded otherwise: so a test takes something out of all
    /// of them, and shows that it is missed, or that it is not.
    #[must_use]
    pub fn with_sql_rewriter(self, rewrite_sql: fn(&str) -> String) -> Self {
        let statements = Statements { rewrite_sql: Some(rewrite_sql), ..self.statements };
        Self { statements, ..self }
    }

    /// A transaction all of whose reads see one and the same moment.
    pub async fn snapshot(&self) -> Result<Snapshot, DbErr> {
        let mut lease = self.connections.lease(&self.borrower).await?;
        lease.connection()?.begin_snapshot().await.map_err(query_error)?;
        let backend = self.connections.backend();
        Ok(Snapshot { backend, statements: self.statements.clone(), lease: Mutex::new(lease) })
    }

    /// Closes what rests, and lends nothing any more.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// Reads, unless nobody waits for the request any more.
    async fn wanted<T>(&self, read: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        let Some((budget, _)) = &self.borrower.request else { return read.await };
        tokio::select! {
            biased;
            done = read => done,
            () = budget.abandoned() => Err(abandoned()),
        }
    }
}

fn abandoned() -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)
}

/// How many there were, and how they are worded if not as they come.
#[derive(Clone, Default)]
struct Statements {
    count: Arc<AtomicUsize>,
    rewrite_sql: Option<fn(&str) -> String>,
}

impl Statements {
    /// Counts one that is about to run. Its text has no values in it.
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
        self.connections.backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let statement = self.statements.note(statement);
        let read = async {
            let mut lease = self.connections.lease(&self.borrower).await?;
            let done = lease.connection()?.execute(statement).await;
            lease.end_with(done)
        };
        self.wanted(read).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.connections.backend(), sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let statement = self.statements.note(statement);
        let read = async {
            let mut lease = self.connections.lease(&self.borrower).await?;
            let row = lease.connection()?.one(statement).await;
            lease.end_with(row)
        };
        self.wanted(read).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let statement = self.statements.note(statement);
        let read = async {
            let mut lease = self.connections.lease(&self.borrower).await?;
            let rows = lease.connection()?.all(statement).await;
            lease.end_with(rows)
        };
        self.wanted(read).await
    }
}

/// For many rows, read one by one. Whoever stops before the last one ends the connection.
impl StreamTrait for Readers {
    type Stream<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

    fn get_database_backend(&self) -> DbBackend {
        self.connections.backend()
    }

    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        let statement = self.statements.note(statement);
        Box::pin(async move {
            let mut lease = self.wanted(self.connections.lease(&self.borrower)).await?;
            let rows: Self::Stream<'a> = Box::pin(async_stream::try_stream! {
                {
                    let mut rows = lease.connection()?.each(statement).map_err(query_error);
                    while let Some(row) = self.wanted(rows.try_next()).await? {
                        yield row;
                    }
                }
                lease.end();
            });
            Ok(rows)
        })
    }
}

/// A transaction that only reads, and sees one moment.
pub struct Snapshot {
    backend: DbBackend,
    statements: Statements,
    lease: Mutex<Lease>,
}

impl Snapshot {
    /// Ends the transaction. One that is dropped instead takes its connection with it.
    pub async fn end(self) -> Result<(), DbErr> {
        let mut lease = self.lease.into_inner();
        let statement = Statement::from_string(self.backend, "ROLLBACK");
        let done = lease.connection()?.execute(statement).await;
        lease.end_with(done).map(drop)
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for Snapshot {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let statement = self.statements.note(statement);
        self.lease.lock().await.connection()?.execute(statement).await.map_err(query_error)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.backend, sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let statement = self.statements.note(statement);
        self.lease.lock().await.connection()?.one(statement).await.map_err(query_error)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let statement = self.statements.note(statement);
        self.lease.lock().await.connection()?.all(statement).await.map_err(query_error)
    }
}
