//! Connections on loan to [`Readers`](super::Readers). One that was left in the middle of a statement,
//! because whoever read went away or because it failed, is closed and not used again.

use std::{
    future::Future,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

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
use tokio::time::{Instant, timeout};

use super::{
    ACQUIRE_TIMEOUT, IDLE_TIMEOUT,
    connection_turns::{Holder, ReadBudget, Turn, Turns},
    row_security::{SET_SCOPE, Scope},
};

/// A connection of this age is replaced, and with it whatever its session has gathered.
const AGE_MAX: Duration = Duration::from_mins(30);

/// One moment for all reads to come, for as long as they take: a whole installation may be read.
const POSTGRES_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
     SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on; \
     SET LOCAL enable_bitmapscan = on; SET LOCAL enable_hashjoin = on; \
     SET LOCAL enable_mergejoin = on";

/// Steps of `SQLite`'s machine between two looks at whether a statement was abandoned: far below a millisecond.
const SQLITE_STEPS: i32 = 10_000;
/// PostgreSQL looks so often whether the client of a running statement is still there. Versions before 14 and
/// systems that cannot tell refuse the setting; `statement_timeout` then ends the statement.
const POSTGRES_PROBE: &str = "SET client_connection_check_interval = '500ms'";

/// PostgreSQL is silent if it answers nobody for longer than this: a statement then waits for a server or a network that has
/// failed, which is not the caller's doing. `SQLite` runs within this process, and is never waited for like that.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// What a statement counts for at most that was not answered, or while PostgreSQL was silent.
pub const SILENCE_COUNTED_MAX: Duration = Duration::from_secs(1);

/// Connections, lent one by one.
#[derive(Clone)]
pub(super) struct Connections {
    pools: Pools,
    turns: Arc<Turns>,
    answers: Arc<Mutex<Answers>>,
}

/// When the database last answered any statement.
struct Answers {
    last: Instant,
    /// The last time in which it was silent.
    silence: Range<Instant>,
}

#[derive(Clone)]
enum Pools {
    Postgres(Pool<Opener<PgConnection>>),
    Sqlite(Pool<Opener<SqliteConnection>>),
}

/// For whom a connection is lent.
#[derive(Clone, Default)]
pub(super) struct Borrower {
    /// Whose rows the session may see; `None` without row security.
    pub scope: Option<Scope>,
    /// The budget of a request and the holder that it counts for; `None` for the server's own work.
    pub request: Option<(Arc<ReadBudget>, Holder)>,
}

/// Opens connections, all alike.
pub(super) struct Opener<C: Connection>(C::Options);

/// A connection, and the scope that its session has; none before the first.
pub(super) struct Session<C> {
    connection: C,
    scope: Option<Scope>,
    /// Set when the connection is given up in the middle of a statement.
    is_abandoned: Arc<AtomicBool>,
}

/// A connection whose statement ends soon after the connection is given up.
pub(super) trait Abandonable: Connection {
    fn end_when(
        &mut self,
        is_abandoned: Arc<AtomicBool>,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Abandonable for SqliteConnection {
    /// Its thread would go on to the statement's end.
    async fn end_when(&mut self, is_abandoned: Arc<AtomicBool>) -> Result<(), sqlx::Error> {
        let goes_on = move || !is_abandoned.load(Ordering::Relaxed);
        self.lock_handle().await?.set_progress_handler(SQLITE_STEPS, goes_on);
        Ok(())
    }
}

impl Abandonable for PgConnection {
    /// The server sees that its client has gone.
    async fn end_when(&mut self, _: Arc<AtomicBool>) -> Result<(), sqlx::Error> {
        match sqlx::raw_sql(POSTGRES_PROBE).execute(self).await {
            Ok(_) | Err(sqlx::Error::Database(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl<C: Abandonable> Manager for Opener<C> {
    type Type = Session<C>;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<Session<C>, sqlx::Error> {
        let mut connection = self.0.connect().await?;
        let is_abandoned = Arc::<AtomicBool>::default();
        connection.end_when(Arc::clone(&is_abandoned)).await?;
        Ok(Session { connection, scope: None, is_abandoned })
    }

    async fn recycle(
        &self,
        session: &mut Session<C>,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        if metrics.age() > AGE_MAX {
            return Err(RecycleError::message("its time is over"));
        }
        if metrics.last_used() > IDLE_TIMEOUT {
            session.connection.ping().await?;
        }
        Ok(())
    }
}

impl Connections {
    pub fn on_postgres(options: PgConnectOptions, connections: u32) -> Self {
        Self::new(connections, |size| Pools::Postgres(pool(options, size)))
    }

    pub fn on_sqlite(options: SqliteConnectOptions, connections: u32) -> Self {
        Self::new(connections, |size| Pools::Sqlite(pool(options, size)))
    }

    fn new(connections: u32, pools: impl FnOnce(usize) -> Pools) -> Self {
        let size = usize::try_from(connections).unwrap_or(usize::MAX);
        let answers = Arc::new(Mutex::new(Answers::new()));
        Self { pools: pools(size), turns: Arc::new(Turns::new(size)), answers }
    }

    pub fn backend(&self) -> DbBackend {
        match &self.pools {
            Pools::Postgres(_) => DbBackend::Postgres,
            Pools::Sqlite(_) => DbBackend::Sqlite,
        }
    }

    /// Lends one when it is the borrower's turn, with a session of its scope.
    pub async fn lease(&self, borrower: &Borrower) -> Result<Lease, DbErr> {
        let lent = async {
            let turn = match &borrower.request {
                Some((budget, holder)) => self.turns.wait(budget, *holder).await,
                None => Turn::default(),
            };
            let lent = match &self.pools {
                Pools::Postgres(pool) => Lent::Postgres(pool.get().await?),
                Pools::Sqlite(pool) => Lent::Sqlite(pool.get().await?),
            };
            Ok::<_, PoolError<sqlx::Error>>((lent, turn))
        };
        let (lent, turn) = match timeout(ACQUIRE_TIMEOUT, lent).await {
            Ok(Ok(lent)) => lent,
            Ok(Err(PoolError::Backend(error))) => {
                return Err(DbErr::Conn(RuntimeErr::SqlxError(error.into())));
            }
            Ok(Err(_)) => {
                return Err(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed));
            }
            Err(_) => return Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)),
        };
        let budget = borrower.request.as_ref().map(|(budget, _)| Arc::clone(budget));
        let answers = Arc::clone(&self.answers);
        let mut lease = Lease(Some(Loan { lent, turn, since: Instant::now(), budget, answers }));
        if let (Some(scope), Lent::Postgres(session)) = (borrower.scope, lease.connection()?)
            && session.scope != Some(scope)
        {
            // A session that is left half-way in this is closed with the lease.
            session.take_scope(scope).await.map_err(query_error)?;
        }
        Ok(lease)
    }

    /// Closes what rests, and lends nothing any more.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres(pool) => close(pool).await,
            Pools::Sqlite(pool) => close(pool).await,
        }
    }
}

fn pool<C: Abandonable>(options: C::Options, size: usize) -> Pool<Opener<C>> {
    let pool = Pool::builder(Opener(options)).max_size(size);
    pool.build().expect("a pool without timeouts needs no runtime")
}

async fn close<C: Abandonable>(pool: &Pool<Opener<C>>) {
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
pub(super) struct Lease(Option<Loan>);

struct Loan {
    lent: Lent,
    turn: Turn,
    since: Instant,
    budget: Option<Arc<ReadBudget>>,
    answers: Arc<Mutex<Answers>>,
}

impl Answers {
    fn new() -> Self {
        let now = Instant::now();
        Self { last: now, silence: now..now }
    }

    fn note(&mut self, now: Instant) {
        if now - self.last > SILENT_AFTER {
            self.silence = self.last..now;
        }
        self.last = now;
    }

    /// What counts of the time of an answered statement.
    fn counted(&self, since: Instant, now: Instant) -> Duration {
        let held = now - since;
        let silent = self.silence.end.saturating_duration_since(self.silence.start.max(since));
        held.saturating_sub(silent).max(held.min(SILENCE_COUNTED_MAX))
    }
}

impl Loan {
    /// Ends the loan: the connection goes back to the pool if it is whole, and is closed otherwise.
    fn end(self, is_whole: bool) {
        let Self { lent, turn, since, budget, answers } = self;
        let now = Instant::now();
        let counted = match lent {
            Lent::Sqlite(_) => now - since,
            Lent::Postgres(_) if is_whole => {
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.note(now);
                answers.counted(since, now)
            }
            Lent::Postgres(_) => (now - since).min(SILENCE_COUNTED_MAX),
        };
        if is_whole {
            drop(lent);
        } else {
            lent.close();
        }
        // Whoever has the turn next finds the connection.
        drop(turn);
        if let Some(budget) = budget {
            budget.charge(counted);
        }
    }
}

impl Lease {
    pub fn connection(&mut self) -> Result<&mut Lent, DbErr> {
        let closed = DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed);
        self.0.as_mut().map(|loan| &mut loan.lent).ok_or(closed)
    }

    /// Gives the connection back, for its statement has ended.
    pub fn end(&mut self) {
        if let Some(loan) = self.0.take() {
            loan.end(true);
        }
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
        if let Some(loan) = self.0.take() {
            loan.end(false);
        }
    }
}

impl Lent {
    /// Closes the connection, and ends the statement that may be running on it.
    fn close(self) {
        match self {
            Self::Postgres(connection) => drop(Object::take(connection)),
            Self::Sqlite(connection) => {
                let session = Object::take(connection);
                session.is_abandoned.store(true, Ordering::Relaxed);
            }
        }
    }

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

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_counts_unless_nobody_was_answered() {
        let second = Duration::from_secs(1);
        let mut answers = Answers::new();
        let mut answered = |since| {
            let now = Instant::now();
            answers.note(now);
            answers.counted(since, now)
        };
        // A slow statement beside quick ones.
        let slow = Instant::now();
        for _ in 0..8 {
            let quick = Instant::now();
            advance(second).await;
            assert_eq!(answered(quick), second);
        }
        assert_eq!(answered(slow), second * 8);

        // Nobody is answered for ten seconds; then all are, one after another.
        let waiting = Instant::now();
        advance(second * 10).await;
        for _ in 0..3 {
            assert_eq!(answered(waiting), second);
        }
        advance(second / 2).await;
        assert_eq!(answered(waiting), second);
        let later = Instant::now();
        advance(second).await;
        assert_eq!(answered(later), second);
    }
}
