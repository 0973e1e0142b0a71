//! Connections for reading. They go from one statement to the next without a question in between:
//! sqlx's own pool asks the database, with a round trip each time that a connection comes back, whether
//! it still lives, so that every read costs two.
//!
//! A connection that was left in the middle of a statement, because whoever read went away or because
//! it failed, is closed and not used again.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use futures_util::{TryStreamExt as _, stream::BoxStream};
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    Statement, StreamTrait,
    sqlx::{
        self, AssertSqlSafe, ConnectOptions as _, Connection, Database, PgConnection, Postgres,
        Sqlite, SqliteConnection, postgres::PgConnectOptions, query::Query,
        sqlite::SqliteConnectOptions,
    },
};
use sea_query_sqlx::SqlxValues;
use tokio::{sync::Mutex, time::timeout};

use super::{
    ACQUIRE_TIMEOUT, RESTED, RowSecurity,
    row_security::{SET_SCOPE, Scope},
};

/// A connection of this age is replaced, and with it whatever its session has gathered.
const AGE_MAX: Duration = Duration::from_mins(30);

/// One moment for all reads to come, for as long as they take: a whole installation may be read.
const POSTGRES_SNAPSHOT: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";

/// Connections for reading.
#[derive(Clone)]
pub struct Readers {
    connections: Connections,
    statements: Arc<AtomicUsize>,
    /// Whose rows are read; without row security, only statements decide that.
    scope: Option<Scope>,
}

#[derive(Clone)]
enum Connections {
    Postgres(Pool<Opener<PgConnection>>),
    Sqlite(Pool<Opener<SqliteConnection>>),
}

/// Opens connections, all alike.
struct Opener<C: Connection>(C::Options);

/// A connection, and the scope that its session has; none before the first.
struct Session<C> {
    connection: C,
    scope: Option<Scope>,
}

impl<C: Connection> Manager for Opener<C> {
    type Type = Session<C>;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Session<C>, sqlx::Error> {
        Ok(Session { connection: self.0.connect().await?, scope: None })
    }

    async fn recycle(
        &self,
        session: &mut Session<C>,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        if metrics.age() > AGE_MAX {
            return Err(RecycleError::message("its time is over"));
        }
        if metrics.last_used() > RESTED {
            session.connection.ping().await?;
        }
        Ok(())
    }
}

impl Readers {
    /// At most so many connections, each made when it is first needed.
    pub fn on_postgres(
        options: PgConnectOptions,
        connections: u32,
        row_security: RowSecurity,
    ) -> Self {
        let scope = (row_security == RowSecurity::On).then_some(Scope::All);
        Self { scope, ..Self::new(Connections::Postgres(pool(options, connections))) }
    }

    /// At most so many connections, each made when it is first needed.
    pub fn on_sqlite(options: SqliteConnectOptions, connections: u32) -> Self {
        Self::new(Connections::Sqlite(pool(options, connections)))
    }

    fn new(connections: Connections) -> Self {
        Self { connections, statements: Arc::default(), scope: None }
    }

    /// The same connections, for reading what this scope may see. Where there is no row security, only the
    /// statements' own filters hold.
    #[must_use]
    pub fn within(&self, scope: Scope) -> Self {
        Self { scope: self.scope.map(|_| scope), ..self.clone() }
    }

    fn backend(&self) -> DbBackend {
        match &self.connections {
            Connections::Postgres(_) => DbBackend::Postgres,
            Connections::Sqlite(_) => DbBackend::Sqlite,
        }
    }

    /// Statements read with so far.
    pub fn statements(&self) -> usize {
        self.statements.load(Ordering::Relaxed)
    }

    /// A transaction all of whose reads see one and the same moment.
    pub async fn snapshot(&self) -> Result<Snapshot, DbErr> {
        let mut lease = self.lease().await?;
        match &mut lease.connection()? {
            Lent::Postgres(connection) => {
                sqlx::raw_sql(POSTGRES_SNAPSHOT).execute(&mut connection.connection).await.map(drop)
            }
            Lent::Sqlite(connection) => {
                sqlx::raw_sql("BEGIN").execute(&mut connection.connection).await.map(drop)
            }
        }
        .map_err(query_error)?;
        let backend = self.backend();
        Ok(Snapshot { backend, statements: Arc::clone(&self.statements), lease: Mutex::new(lease) })
    }

    /// Closes what rests, and lends nothing any more.
    pub async fn close(&self) {
        match &self.connections {
            Connections::Postgres(pool) => close(pool).await,
            Connections::Sqlite(pool) => close(pool).await,
        }
    }

    async fn lease(&self) -> Result<Lease, DbErr> {
        let lent = async {
            match &self.connections {
                Connections::Postgres(pool) => pool.get().await.map(Lent::Postgres),
                Connections::Sqlite(pool) => pool.get().await.map(Lent::Sqlite),
            }
        };
        let lent = match timeout(ACQUIRE_TIMEOUT, lent).await {
            Ok(Ok(lent)) => lent,
            Ok(Err(PoolError::Backend(error))) => {
                return Err(DbErr::Conn(RuntimeErr::SqlxError(error.into())));
            }
            Ok(Err(_)) => {
                return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed));
            }
            Err(_) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        };
        let mut lease = Lease(Some(lent));
        if let (Some(scope), Lent::Postgres(session)) = (self.scope, lease.connection()?)
            && session.scope != Some(scope)
        {
            // A session that is left half-way in this is closed with the lease.
            session.take_scope(scope).await.map_err(query_error)?;
        }
        Ok(lease)
    }
}

fn pool<C: Connection>(options: C::Options, connections: u32) -> Pool<Opener<C>> {
    let connections = usize::try_from(connections).unwrap_or(usize::MAX);
    let pool = Pool::builder(Opener(options)).max_size(connections);
    pool.build().expect("a pool without timeouts needs no runtime")
}

async fn close<C: Connection>(pool: &Pool<Opener<C>>) {
    // Rather than just dropped: the database is told.
    for connection in pool.retain(|_, _| false).removed {
        let _ = connection.connection.close().await;
    }
    pool.close();
}

impl Session<PgConnection> {
    async fn take_scope(&mut self, scope: Scope) -> Result<(), sqlx::Error> {
        let [role, team_id, account_id] = scope.settings();
        let set = sqlx::query(SET_SCOPE).bind(role).bind(team_id).bind(account_id);
        set.execute(&mut self.connection).await?;
        self.scope = Some(scope);
        Ok(())
    }
}

/// A connection that is lent.
enum Lent {
    Postgres(Object<Opener<PgConnection>>),
    Sqlite(Object<Opener<SqliteConnection>>),
}

/// A connection on loan: it is given back whole, or else closed.
struct Lease(Option<Lent>);

impl Lease {
    fn connection(&mut self) -> Result<&mut Lent, DbErr> {
        let closed = DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        self.0.as_mut().ok_or(closed)
    }

    /// Gives the connection back, for its statement has ended.
    fn end(&mut self) {
        self.0 = None;
    }

    /// Gives the connection back, if what came of the statement says that it is whole.
    fn end_with<T>(mut self, done: Result<T, sqlx::Error>) -> Result<T, DbErr> {
        if matches!(done, Ok(_) | Err(sqlx::Error::Database(_))) {
            self.end();
        }
        done.map_err(query_error)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.0.take() {
            Some(Lent::Postgres(connection)) => drop(Object::take(connection)),
            Some(Lent::Sqlite(connection)) => drop(Object::take(connection)),
            None => {}
        }
    }
}

impl Lent {
    async fn execute(&mut self, statement: Statement) -> Result<ExecResult, sqlx::Error> {
        Ok(match self {
            Self::Postgres(connection) => {
                query::<Postgres>(statement).execute(&mut connection.connection).await?.into()
            }
            Self::Sqlite(connection) => {
                query::<Sqlite>(statement).execute(&mut connection.connection).await?.into()
            }
        })
    }

    async fn one(&mut self, statement: Statement) -> Result<Option<QueryResult>, sqlx::Error> {
        Ok(match self {
            Self::Postgres(connection) => {
                let row = query::<Postgres>(statement).fetch_optional(&mut connection.connection);
                row.await?.map(QueryResult::from)
            }
            Self::Sqlite(connection) => {
                let row = query::<Sqlite>(statement).fetch_optional(&mut connection.connection);
                row.await?.map(QueryResult::from)
            }
        })
    }

    async fn all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, sqlx::Error> {
        Ok(match self {
            Self::Postgres(connection) => {
                let rows = query::<Postgres>(statement).fetch_all(&mut connection.connection);
                rows.await?.into_iter().map(QueryResult::from).collect()
            }
            Self::Sqlite(connection) => {
                let rows = query::<Sqlite>(statement).fetch_all(&mut connection.connection);
                rows.await?.into_iter().map(QueryResult::from).collect()
            }
        })
    }

    fn each(&mut self, statement: Statement) -> BoxStream<'_, Result<QueryResult, sqlx::Error>> {
        match self {
            Self::Postgres(connection) => Box::pin(
                query::<Postgres>(statement)
                    .fetch(&mut connection.connection)
                    .map_ok(QueryResult::from),
            ),
            Self::Sqlite(connection) => Box::pin(
                query::<Sqlite>(statement)
                    .fetch(&mut connection.connection)
                    .map_ok(QueryResult::from),
            ),
        }
    }
}

fn query<D: Database>(statement: Statement) -> Query<'static, D, SqlxValues>
where
    SqlxValues: sqlx::IntoArguments<D>,
{
    let values = statement.values.unwrap_or_else(|| sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}

/// A statement's text has no values in it.
fn note(statements: &AtomicUsize, statement: &Statement) {
    statements.fetch_add(1, Ordering::Relaxed);
    tracing::trace!(sql = statement.sql, "Reading");
}

fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

#[async_trait::async_trait]
impl ConnectionTrait for Readers {
    fn get_database_backend(&self) -> DbBackend {
        self.backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        note(&self.statements, &statement);
        let mut lease = self.lease().await?;
        let done = lease.connection()?.execute(statement).await;
        lease.end_with(done)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.backend(), sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        note(&self.statements, &statement);
        let mut lease = self.lease().await?;
        let row = lease.connection()?.one(statement).await;
        lease.end_with(row)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        note(&self.statements, &statement);
        let mut lease = self.lease().await?;
        let rows = lease.connection()?.all(statement).await;
        lease.end_with(rows)
    }
}

/// For many rows, read one by one. Whoever stops before the last one ends the connection.
impl StreamTrait for Readers {
    type Stream<'a> = BoxStream<'a, Result<QueryResult, DbErr>>;

    fn get_database_backend(&self) -> DbBackend {
        self.backend()
    }

    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        note(&self.statements, &statement);
        Box::pin(async move {
            let mut lease = self.lease().await?;
            let rows: Self::Stream<'a> = Box::pin(async_stream::try_stream! {
                {
                    let mut rows = lease.connection()?.each(statement).map_err(query_error);
                    while let Some(row) = rows.try_next().await? {
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
    statements: Arc<AtomicUsize>,
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
        note(&self.statements, &statement);
        self.lease.lock().await.connection()?.execute(statement).await.map_err(query_error)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.backend, sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        note(&self.statements, &statement);
        self.lease.lock().await.connection()?.one(statement).await.map_err(query_error)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        note(&self.statements, &statement);
        self.lease.lock().await.connection()?.all(statement).await.map_err(query_error)
    }
}
