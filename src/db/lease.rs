//! Connections on loan to [`Readers`](super::Readers). One that was left in the middle of a statement,
//! because whoever read went away or because it failed, is closed and not used again.

use std::time::Duration;

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use futures_util::{TryStreamExt as _, stream::BoxStream};
use sea_orm::{
    ConnAcquireErr, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, Statement,
    sqlx::{
        self, AssertSqlSafe, ConnectOptions as _, Connection, Database, PgConnection, Postgres,
        Sqlite, SqliteConnection, postgres::PgConnectOptions, query::Query,
        sqlite::SqliteConnectOptions,
    },
};
use sea_query_sqlx::SqlxValues;
use tokio::time::timeout;

use super::{
    ACQUIRE_TIMEOUT, RESTED,
    row_security::{SET_SCOPE, Scope},
};

/// A connection of this age is replaced, and with it whatever its session has gathered.
const AGE_MAX: Duration = Duration::from_mins(30);

/// One moment for all reads to come, for as long as they take: a whole installation may be read.
const POSTGRES_SNAPSHOT: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";

/// Connections, lent one by one.
#[derive(Clone)]
pub(super) enum Connections {
    Postgres(Pool<Opener<PgConnection>>),
    Sqlite(Pool<Opener<SqliteConnection>>),
}

/// Opens connections, all alike.
pub(super) struct Opener<C: Connection>(C::Options);

/// A connection, and the scope that its session has; none before the first.
pub(super) struct Session<C> {
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

impl Connections {
    pub fn on_postgres(options: PgConnectOptions, connections: u32) -> Self {
        Self::Postgres(pool(options, connections))
    }

    pub fn on_sqlite(options: SqliteConnectOptions, connections: u32) -> Self {
        Self::Sqlite(pool(options, connections))
    }

    pub fn backend(&self) -> DbBackend {
        match self {
            Self::Postgres(_) => DbBackend::Postgres,
            Self::Sqlite(_) => DbBackend::Sqlite,
        }
    }

    /// Lends one, whose session has this scope if there is any.
    pub async fn lease(&self, scope: Option<Scope>) -> Result<Lease, DbErr> {
        let lent = async {
            match self {
                Self::Postgres(pool) => pool.get().await.map(Lent::Postgres),
                Self::Sqlite(pool) => pool.get().await.map(Lent::Sqlite),
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
        if let (Some(scope), Lent::Postgres(session)) = (scope, lease.connection()?)
            && session.scope != Some(scope)
        {
            // A session that is left half-way in this is closed with the lease.
            session.take_scope(scope).await.map_err(query_error)?;
        }
        Ok(lease)
    }

    /// Closes what rests, and lends nothing any more.
    pub async fn close(&self) {
        match self {
            Self::Postgres(pool) => close(pool).await,
            Self::Sqlite(pool) => close(pool).await,
        }
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
pub(super) enum Lent {
    Postgres(Object<Opener<PgConnection>>),
    Sqlite(Object<Opener<SqliteConnection>>),
}

/// A connection on loan: it is given back whole, or else closed.
pub(super) struct Lease(Option<Lent>);

impl Lease {
    pub fn connection(&mut self) -> Result<&mut Lent, DbErr> {
        let closed = DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        self.0.as_mut().ok_or(closed)
    }

    /// Gives the connection back, for its statement has ended.
    pub fn end(&mut self) {
        self.0 = None;
    }

    /// Gives the connection back, if what came of the statement says that it is whole.
    pub fn end_with<T>(mut self, done: Result<T, sqlx::Error>) -> Result<T, DbErr> {
        if done.as_ref().err().is_none_or(leaves_whole) {
            self.end();
        }
        done.map_err(query_error)
    }
}

/// Whether a connection can go on after this: the database refused a statement, and did not end the session
/// (by an operator's command or its own shutdown, class 57P, or a timeout of idle ones, 25P03).
fn leaves_whole(failure: &sqlx::Error) -> bool {
    let sqlx::Error::Database(refused) = failure else { return false };
    refused.code().is_none_or(|code| !code.starts_with("57P") && code != "25P03")
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
    /// Begins a transaction all of whose reads see one and the same moment.
    pub async fn begin_snapshot(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres(connection) => {
                sqlx::raw_sql(POSTGRES_SNAPSHOT).execute(&mut connection.connection).await?;
            }
            Self::Sqlite(connection) => {
                sqlx::raw_sql("BEGIN").execute(&mut connection.connection).await?;
            }
        }
        Ok(())
    }

    pub async fn execute(&mut self, statement: Statement) -> Result<ExecResult, sqlx::Error> {
        Ok(match self {
            Self::Postgres(connection) => {
                query::<Postgres>(statement).execute(&mut connection.connection).await?.into()
            }
            Self::Sqlite(connection) => {
                query::<Sqlite>(statement).execute(&mut connection.connection).await?.into()
            }
        })
    }

    pub async fn one(&mut self, statement: Statement) -> Result<Option<QueryResult>, sqlx::Error> {
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

    pub async fn all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, sqlx::Error> {
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

    pub fn each(
        &mut self,
        statement: Statement,
    ) -> BoxStream<'_, Result<QueryResult, sqlx::Error>> {
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

pub(super) fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}
