//! Connections: how `SQLite` and `PostgreSQL` are opened, migrated, and how a transaction begins.
//!
//! Reading and writing have connections of their own, and the accept path's writers have connections that
//! nobody else uses. On `SQLite` the writing pool is one connection, the writer's too, whose
//! transactions are IMMEDIATE (a deferred one cannot be upgraded under contention, `SQLITE_BUSY`) and
//! which is handed out in the order of asking; the readers are `query_only`. A write transaction must
//! never be dropped half-begun: on sqlx 0.9 a cancelled `begin()` can hand an open transaction to the
//! next user of the connection (transact-rs/sqlx#4393). So requests run in tasks of their own
//! (`http::graphql`), and what pays is handed to a writer.
//!
//! On `SQLite` a connection that is released inside a transaction is closed. When the disk is full,
//! `SQLite` rolls back by itself; the driver's own ROLLBACK then fails and it goes on counting a
//! transaction that is not there, so that every later one would be a savepoint that is never committed.

use std::{ops::Deref, str::FromStr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnAcquireErr, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    DatabaseTransaction, DbBackend, DbErr, RuntimeErr, SqlErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait, Value,
    sea_query::{Expr, SimpleExpr},
    sqlx::{
        self, ConnectOptions as _, Connection as _,
        postgres::{PgConnectOptions, PgListener},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use tokio::time::timeout;
use uuid::Uuid;

mod backup;
mod connection_turns;
mod files;
mod lease;
pub mod reach;
mod readers;
pub mod row_security;

pub use backup::BackupError;
pub use connection_turns::{
    OF_REQUEST_MAX as READS_OF_REQUEST_MAX, OF_WORKER as WRITES_OF_WORKER, ReadBudget, Turn, Turns,
};
pub use files::{ServingLockError, exposed, lock_for_serving, sqlite_path, sqlite_url};
pub use lease::SILENCE_COUNTED_MAX;
use lease::query_error;
pub use readers::{Readers, Snapshot};
pub use row_security::Scope;

/// The PostgreSQL advisory lock under which migrations run, one process at a time.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(5466134209)";
/// How long whoever reads or writes waits for a connection.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long the emptying of the write-ahead log may keep writers waiting.
const EMPTY_LOG_TIMEOUT: Duration = Duration::from_millis(100);
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(8);
/// A connection that rested for so long may have been lost, and is asked before it is used.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
const BATCH_DEADLINE: Duration = Duration::from_secs(5);
const SQLITE_READERS: u32 = 4;
/// A reader writes nothing; the database sees to it. What it reads an index finds, in the order that it is read in:
/// other plans are made for accounts of the average size, and read all of an account that is larger than that.
pub const POSTGRES_READER_OPTIONS: [(&str, &str); 6] = [
    ("default_transaction_read_only", "on"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];
/// PostgreSQL: no statement outlives the request's deadline, no lock is waited for as long.
const POSTGRES_OPTIONS: [(&str, &str); 3] = [
    ("statement_timeout", "9s"),
    ("lock_timeout", "8s"),
    ("idle_in_transaction_session_timeout", "15s"),
];

/// What a writer's session has besides. Its statements are few and fixed, each by an index: a plan made
/// while the tables were nearly empty must not be kept (measured: 13,300 messages/s against 2,217).
const POSTGRES_WRITER_OPTIONS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];
/// Writers of a process on PostgreSQL: within these, one for each processor.
const POSTGRES_WRITERS: std::ops::RangeInclusive<usize> = 2..=4;

/// The database, through connections for reading and a pool for writing.
#[derive(Clone)]
pub struct Db {
    pub read: Readers,
    pub write: DatabaseConnection,
    /// How long a writer's batch may take on PostgreSQL before its connection is given up; it waits for a
    /// lock for two fifths of that. Shorter than a request's deadline, so that its senders can be answered.
    pub batch_deadline: Duration,
    write_turns: Arc<Turns>,
    url: String,
    row_security: RowSecurity,
}

/// Whether PostgreSQL itself keeps callers to their own rows ([`row_security`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowSecurity {
    #[default]
    Off,
    /// It was set up.
    On,
}

impl RowSecurity {
    /// What the session of whoever writes, or reads for all, has besides.
    fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Off => &[],
            Self::On => &[("role", row_security::SYSTEM)],
        }
    }
}

/// A writer's own way to the database (`domain::billing`).
pub enum WriterDb {
    Postgres {
        options: Box<PgConnectOptions>,
        /// How long a batch may take.
        deadline: Duration,
    },
    Sqlite(DatabaseConnection),
}

/// A transaction of a request, which has its team's turn to write until it ends.
pub struct TurnTransaction {
    txn: DatabaseTransaction,
    _turn: Turn,
}

impl TurnTransaction {
    pub async fn commit(self) -> Result<(), DbErr> {
        self.txn.commit().await
    }

    pub async fn rollback(self) -> Result<(), DbErr> {
        self.txn.rollback().await
    }
}

impl Deref for TurnTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.txn
    }
}

impl Db {
    /// Opens the database; creates the file of an `SQLite` URL with `mode=rwc`. `connections` is the
    /// size of each pool on PostgreSQL.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, DbErr> {
        Self::connect_with(url, connections, RowSecurity::Off).await
    }

    /// The same, with row security where it was set up.
    pub async fn connect_with(
        url: &str,
        connections: u32,
        row_security: RowSecurity,
    ) -> Result<Self, DbErr> {
        let is_sqlite = url.starts_with("sqlite:");
        files::make_private(url);
        // The writer opens first: it makes the file and turns WAL on.
        let write = Database::connect(options(
            url,
            if is_sqlite { 1 } else { connections },
            row_security.options(),
        ));
        let write = write.await?;
        let read = if is_sqlite {
            let options = sqlite_options(SqliteConnectOptions::from_str(url).map_err(url_error)?);
            let options = options.pragma("query_only", "ON").disable_statement_logging();
            Readers::on_sqlite(options, SQLITE_READERS)
        } else {
            let options = PgConnectOptions::from_str(url).map_err(url_error)?;
            let options = options.options(POSTGRES_OPTIONS).options(POSTGRES_READER_OPTIONS);
            let options = options.disable_statement_logging();
            Readers::on_postgres(options, connections, row_security)
        };
        let write_turns = if is_sqlite {
            Turns::new(1)
        } else {
            Turns::beside_the_worker(usize::try_from(connections).unwrap_or(usize::MAX))
        };
        Ok(Self {
            read,
            write,
            batch_deadline: BATCH_DEADLINE,
            write_turns: Arc::new(write_turns),
            url: url.to_owned(),
            row_security,
        })
    }

    /// The ways of this process's writers to the database; none is connected yet.
    pub fn writers(&self) -> Vec<WriterDb> {
        if self.backend() == DbBackend::Sqlite {
            return vec![WriterDb::Sqlite(self.write.clone())];
        }
        let options = PgConnectOptions::from_str(&self.url).expect("this URL was connected to");
        let options = options.options(POSTGRES_OPTIONS).options(POSTGRES_WRITER_OPTIONS);
        let options = options.options(self.row_security.options().iter().copied());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let writers = processors.clamp(*POSTGRES_WRITERS.start(), *POSTGRES_WRITERS.end());
        let deadline = self.batch_deadline;
        let lock_timeout = format!("{}ms", deadline.as_millis() * 2 / 5);
        let options = options.options([("lock_timeout", lock_timeout)]);
        let writer = || WriterDb::Postgres { options: Box::new(options.clone()), deadline };
        (0..writers).map(|_| writer()).collect()
    }

    /// A connection of its own that hears notifications (PostgreSQL).
    pub async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        PgListener::connect(&self.url).await
    }

    /// What time it is for PostgreSQL; `SQLite` has no clock but the machine's.
    pub async fn now(&self) -> Result<Option<DateTime<Utc>>, DbErr> {
        if self.backend() == DbBackend::Sqlite {
            return Ok(None);
        }
        let now = Statement::from_string(DbBackend::Postgres, "SELECT clock_timestamp()");
        let row = self.read.query_one_raw(now).await?;
        row.map(|row| row.try_get_by_index(0)).transpose()
    }

    pub fn backend(&self) -> DbBackend {
        self.write.get_database_backend()
    }

    /// Begins a transaction that will write. Its first statement must be a write or a lock.
    pub async fn begin_write(&self) -> Result<DatabaseTransaction, DbErr> {
        let mode =
            (self.backend() == DbBackend::Sqlite).then_some(SqliteTransactionMode::Immediate);
        self.write
            .begin_with_options(TransactionOptions {
                sqlite_transaction_mode: mode,
                ..TransactionOptions::default()
            })
            .await
    }

    /// Waits for a turn to write: a team has a limited number of them, and the operators together (see [`turns`]).
    /// A request that holds a turn must not wait for a second one, which could deadlock.
    pub async fn write_turn(&self, scope: impl Into<Scope>) -> Result<Turn, DbErr> {
        let turn = self.write_turns.wait_as(scope);
        let timed_out = |_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout);
        timeout(ACQUIRE_TIMEOUT, turn).await.map_err(timed_out)
    }

    /// Begins a transaction of a request in its turn: see [`Self::write_turn`] and [`Self::begin_write`].
    pub async fn begin_write_in_turn(
        &self,
        scope: impl Into<Scope>,
    ) -> Result<TurnTransaction, DbErr> {
        let turn = self.write_turn(scope).await?;
        Ok(TurnTransaction { txn: self.begin_write().await?, _turn: turn })
    }

    /// Moves what the write-ahead log of an `SQLite` file holds into the file and empties the log: only then are
    /// overwritten and deleted bytes in neither. False if a reader still needs what is in the log, or a reader or a writer
    /// was in the way for longer than writers may be kept waiting; nothing to do on PostgreSQL.
    pub async fn empty_log(&self) -> Result<bool, DbErr> {
        if self.backend() != DbBackend::Sqlite {
            return Ok(true);
        }
        let options = SqliteConnectOptions::from_str(&self.url).map_err(url_error)?;
        // Of its own: it waits for readers, and the one connection that writes must not.
        let options = sqlite_options(options).create_if_missing(false);
        let options = options.busy_timeout(EMPTY_LOG_TIMEOUT).disable_statement_logging();
        let mut connection = options.connect().await.map_err(query_error)?;
        let is_empty = async {
            // Most of the work, while others write; what is left then takes a moment.
            let moved = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)");
            let (was_busy, pages, moved): (i64, i64, i64) =
                moved.fetch_one(&mut connection).await?;
            if was_busy != 0 || moved < pages {
                return Ok(false);
            }
            let emptied = sqlx::query_scalar("PRAGMA wal_checkpoint(TRUNCATE)");
            let was_busy: i64 = emptied.fetch_one(&mut connection).await?;
            Ok(was_busy == 0)
        };
        let is_empty = is_empty.await.map_err(query_error);
        connection.close().await.map_err(query_error)?;
        is_empty
    }

    /// Closes all connections but the writers'.
    pub async fn close(&self) -> Result<(), DbErr> {
        self.read.close().await;
        self.write.close_by_ref().await
    }

    /// Brings the schema up to date, under one lock, in one transaction.
    pub async fn migrate(&self) -> Result<(), DbErr> {
        let txn = self.begin_write().await?;
        if self.backend() == DbBackend::Postgres {
            // Another process may be migrating, and a big table takes its time.
            txn.execute_unprepared(
                "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL ROLE NONE",
            )
            .await?;
            txn.execute_unprepared(MIGRATION_LOCK).await?;
        }
        Migrator::up(&txn, None).await?;
        txn.commit().await
    }

    /// Whether no migration has been applied: it is no database of this program.
    pub async fn is_empty(&self) -> Result<bool, DbErr> {
        Ok(self.pending_migrations().await? == Migrator::migrations().len())
    }

    /// Whether every migration this program knows has been applied.
    pub async fn is_current(&self) -> Result<bool, DbErr> {
        Ok(self.pending_migrations().await? == 0)
    }

    async fn pending_migrations(&self) -> Result<usize, DbErr> {
        if self.backend() == DbBackend::Postgres {
            // A table that this login may not read would be taken for one that is missing.
            let read = self.read.query_one_raw(Statement::from_string(
                DbBackend::Postgres,
                "SELECT version FROM seaql_migrations LIMIT 1",
            ));
            if let Err(error) = read.await
                && reach::missing_right(&error).is_some()
            {
                return Err(error);
            }
        }
        Ok(Migrator::get_pending_migrations_read_only(&self.read).await?.len())
    }
}

/// Where the migrations that were applied are noted.
pub const MIGRATIONS_TABLE: &str = "seaql_migrations";

/// The tables in the file of an `SQLite` URL. It is not changed.
pub async fn tables_of_sqlite(url: &str) -> Result<Vec<String>, DbErr> {
    let options = SqliteConnectOptions::from_str(url).map_err(url_error)?;
    let options = options.create_if_missing(false).disable_statement_logging();
    let mut connection = options.connect().await.map_err(query_error)?;
    let tables = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'");
    let tables = tables.fetch_all(&mut connection).await.map_err(query_error);
    connection.close().await.map_err(query_error)?;
    tables
}

/// Whether a row's id is one of these: a single parameter, so that the statement's text is fixed.
pub fn has_id(backend: DbBackend, ids: impl IntoIterator<Item = Uuid>) -> SimpleExpr {
    if backend == DbBackend::Postgres {
        return Expr::cust_with_values("id = ANY($1)", [id_list(backend, ids)]);
    }
    let text = "id IN (SELECT unhex(value) FROM json_each(?))";
    Expr::cust_with_values(text, [id_list(backend, ids)])
}

/// Whether a unique index refused a row: that decides, so that two at once cannot both have a value.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}

/// Ids as one parameter: an array, or on `SQLite` a JSON array of their digits.
pub fn id_list(backend: DbBackend, ids: impl IntoIterator<Item = Uuid>) -> Value {
    let ids = ids.into_iter();
    if backend == DbBackend::Postgres {
        return ids.collect::<Vec<_>>().into();
    }
    let ids: Vec<String> = ids.map(|id| id.simple().to_string()).collect();
    serde_json::json!(ids).to_string().into()
}

fn options(
    url: &str,
    connections: u32,
    more: &'static [(&'static str, &'static str)],
) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // Not each time: a connection that rested is looked at below, `SQLite` has no network.
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            // Pages of 4 KiB: hot ones are written back once for many commits.
            let sqlite = sqlite.pragma("cache_size", "4000");
            // What is deleted or overwritten is overwritten with zeros: an erased person must be gone.
            let sqlite = sqlite.pragma("secure_delete", "ON");
            sqlite_options(sqlite).pragma("wal_autocheckpoint", "4000")
        })
        .map_sqlx_sqlite_pool_opts(|pool| {
            pool.after_release(|connection, _| {
                Box::pin(async move {
                    if connection.is_in_transaction() {
                        // A rollback may still be waiting for its turn.
                        connection.ping().await?;
                    }
                    Ok(!connection.is_in_transaction())
                })
            })
        })
        .map_sqlx_postgres_pool_opts(|pool| {
            pool.before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for > IDLE_TIMEOUT {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
        })
        .map_sqlx_postgres_opts(|postgres| {
            postgres.options(POSTGRES_OPTIONS).options(more.iter().copied())
        });
    options
}

fn sqlite_options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
}

fn url_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}
