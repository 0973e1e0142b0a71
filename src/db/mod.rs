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

use std::{
    fs::File,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, RuntimeErr, SqlErr, SqliteTransactionMode, TransactionOptions, TransactionTrait, Value,
    sea_query::{Expr, SimpleExpr},
    sqlx::{
        self, ConnectOptions as _, Connection as _,
        postgres::{PgConnectOptions, PgListener},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};
use uuid::Uuid;

mod lease;
mod readers;
pub mod row_security;
mod turns;

pub use readers::{Readers, Snapshot};
pub use row_security::Scope;
pub use turns::ReadBudget;

/// The PostgreSQL advisory lock under which migrations run, one process at a time.
const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(5466134209)";
/// How long whoever reads or writes waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(8);
/// A connection that rested for so long may have been lost, and is asked before it is used.
const RESTED: Duration = Duration::from_secs(1);
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
        Ok(Self { read, write, batch_deadline: BATCH_DEADLINE, url: url.to_owned(), row_security })
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

    /// Whether every migration this program knows has been applied.
    pub async fn is_current(&self) -> Result<bool, DbErr> {
        Ok(Migrator::get_pending_migrations_read_only(&self.read).await?.is_empty())
    }
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
                    if meta.idle_for > RESTED {
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

/// Why the file of an `SQLite` database cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServingLockError {
    #[error(
        "{} is served by another process already: one serving process a file. \
         Stop that one, or use PostgreSQL for several", .0.display()
    )]
    Taken(PathBuf),
    #[error("{}.lock cannot be made or locked: {error}", .path.display())]
    Io { path: PathBuf, error: std::io::Error },
}

/// Takes the lock of the one serving process of an `SQLite` file; other databases need none. The lock
/// lasts as long as the returned file is open, also through a crash.
pub fn lock_for_serving(url: &str) -> Result<Option<File>, ServingLockError> {
    let Some(path) = sqlite_path(url) else {
        return Ok(None);
    };
    let fault = |error| ServingLockError::Io { path: path.clone(), error };
    // Whatever the file is called by, there is one lock; it may not exist yet, its folder must.
    let path = if path.exists() {
        path.canonicalize().map_err(fault)?
    } else {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().map_err(fault)?;
        folder.join(path.file_name().unwrap_or_default())
    };
    let fault = |error| ServingLockError::Io { path: path.clone(), error };
    let file = File::create(format!("{}.lock", path.display())).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(ServingLockError::Taken(path)),
        Err(std::fs::TryLockError::Error(error)) => Err(fault(error)),
    }
}

/// Whether an `SQLite` URL names a file; one in memory would be another for each connection.
pub fn is_sqlite_file(url: &str) -> bool {
    sqlite_path(url).is_some()
}

/// The URL of an `SQLite` file that is made if it does not exist.
pub fn sqlite_url(path: &Path) -> String {
    let path = path.display().to_string();
    let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite://{path}?mode=rwc")
}

/// The file behind an `SQLite` URL, as the driver reads it.
fn sqlite_path(url: &str) -> Option<PathBuf> {
    if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
        return None;
    }
    let options = SqliteConnectOptions::from_str(url).ok()?;
    let path = options.get_filename();
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}
