//! Access to the database: opening and migrating the database, reading, and beginning transactions.
//!
//! Reads, the writes of requests and the billing writers use separate connections. On `SQLite` only one connection
//! writes, so the billing writer and the requests share that connection.

use std::{path::Path, str::FromStr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend,
    DbErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
    sqlx::{
        self, ConnectOptions as _,
        postgres::{PgConnectOptions, PgListener},
        sqlite::SqliteConnectOptions,
    },
};
use tokio::time::timeout;

mod backup;
mod connection_guard;
mod error;
mod fair_scheduler;
mod files;
mod id_list;
mod migrations;
mod options;
mod outages;
mod pooled_connection;
pub mod reach;
mod read_budget;
mod read_pool;
mod readers;
pub mod row_security;
mod session;
mod write_ahead_log;
mod write_transaction;

pub use backup::BackupError;
pub use error::is_unique_violation;
pub use fair_scheduler::{FairScheduler, Slot, WORKER_CONNECTIONS};
pub use files::{ServingLockError, exposed, lock_for_serving, sqlite_path, sqlite_url};
pub use id_list::{has_id, id_list};
pub use migrations::{MIGRATIONS_TABLE, tables_of_sqlite};
pub use options::{ACQUIRE_TIMEOUT, POSTGRES_READER_OPTIONS};
pub use outages::OUTAGE_CHARGE_MAX;
pub use read_budget::{REQUEST_CONNECTIONS_MAX, ReadBudget};
pub use readers::{Readers, Snapshot};
pub use row_security::{RowSecurity, Scope};
pub use write_transaction::WriteTransaction;

use error::connection_error;
use options::{POSTGRES_OPTIONS, POSTGRES_WRITER_OPTIONS, sqlite_options};

const BATCH_DEADLINE: Duration = Duration::from_secs(5);
/// Number of connections for reading on `SQLite`.
const SQLITE_READERS: u32 = 4;
/// Range for the number of billing writers of a process on PostgreSQL. There is one writer per processor, within this
/// range.
const POSTGRES_WRITERS: std::ops::RangeInclusive<usize> = 2..=4;

/// The database: connections for reading, and a pool for writing.
#[derive(Clone)]
pub struct Db {
    pub read: Readers,
    pub write: DatabaseConnection,
    /// Maximum duration of a writer's batch on PostgreSQL. After this time, the writer's connection is closed. The
    /// batch may wait for locks for two fifths of this time. The duration is shorter than a request's deadline, so that
    /// the senders get a response.
    pub batch_deadline: Duration,
    write_slots: Arc<FairScheduler>,
    url: String,
    row_security: RowSecurity,
}

/// The database access of one billing writer (`domain::billing`).
pub enum WriterDb {
    Postgres {
        options: Box<PgConnectOptions>,
        /// Maximum duration of a batch.
        deadline: Duration,
    },
    Sqlite(DatabaseConnection),
}

impl Db {
    /// Opens the database. Creates the file of an `SQLite` URL with `mode=rwc` if it does not exist. On PostgreSQL,
    /// `connections` is the size of each pool.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, DbErr> {
        Self::connect_with(url, connections, RowSecurity::Off).await
    }

    /// Opens the database like [`Self::connect`], with or without row security.
    pub async fn connect_with(
        url: &str,
        connections: u32,
        row_security: RowSecurity,
    ) -> Result<Self, DbErr> {
        let is_sqlite = url.starts_with("sqlite:");
        files::create_private(url);
        // This connection is opened before those for reading, because it creates the file and enables write-ahead
        // logging.
        let write = Database::connect(options::write_pool(
            url,
            if is_sqlite { 1 } else { connections },
            row_security.options(),
        ));
        let write = write.await?;
        let read = if is_sqlite {
            let options = SqliteConnectOptions::from_str(url).map_err(connection_error)?;
            let options = sqlite_options(options).pragma("query_only", "ON");
            Readers::on_sqlite(options.disable_statement_logging(), SQLITE_READERS)
        } else {
            let options = PgConnectOptions::from_str(url).map_err(connection_error)?;
            let options = options.options(POSTGRES_OPTIONS).options(POSTGRES_READER_OPTIONS);
            let options = options.disable_statement_logging();
            Readers::on_postgres(options, connections, row_security)
        };
        let write_slots = if is_sqlite {
            FairScheduler::new(1)
        } else {
            let connections = usize::try_from(connections).unwrap_or(usize::MAX);
            FairScheduler::shared_with_worker(connections)
        };
        Ok(Self {
            read,
            write,
            batch_deadline: BATCH_DEADLINE,
            write_slots: Arc::new(write_slots),
            url: url.to_owned(),
            row_security,
        })
    }

    /// Returns the database access for this process's billing writers. They have no connection yet.
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

    /// Opens a separate connection that receives notifications. Works only on PostgreSQL.
    pub async fn listener(&self) -> Result<PgListener, sqlx::Error> {
        PgListener::connect(&self.url).await
    }

    /// Returns PostgreSQL's time, or `None` on `SQLite`, because `SQLite` uses this machine's clock.
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

    /// Begins a write transaction. The first statement of the transaction must be a write or a lock.
    ///
    /// Until the transaction ends, the caller's future must not be dropped: sqlx 0.9 can then give the open transaction
    /// to the next user of the connection (transact-rs/sqlx#4393). For this reason, requests run in their own tasks
    /// (`http::graphql`), and sends are queued for a writer.
    pub async fn begin_write(&self) -> Result<DatabaseTransaction, DbErr> {
        // The mode is not `DEFERRED`, because a deferred transaction that is upgraded under contention fails with
        // SQLITE_BUSY.
        let mode =
            (self.backend() == DbBackend::Sqlite).then_some(SqliteTransactionMode::Immediate);
        self.write
            .begin_with_options(TransactionOptions {
                sqlite_transaction_mode: mode,
                ..TransactionOptions::default()
            })
            .await
    }

    /// Waits for a slot for writing. The number of slots is limited for each team, and for all operators together. A
    /// request that has a slot must not wait for a second one, because this could deadlock.
    pub async fn write_slot(&self, scope: impl Into<Scope>) -> Result<Slot, DbErr> {
        let slot = self.write_slots.acquire(scope);
        let timed_out = |_| DbErr::ConnectionAcquire(ConnAcquireErr::Timeout);
        timeout(ACQUIRE_TIMEOUT, slot).await.map_err(timed_out)
    }

    /// Waits for a slot like [`Self::write_slot`], and begins a write transaction.
    pub async fn begin_write_in_slot(
        &self,
        scope: impl Into<Scope>,
    ) -> Result<WriteTransaction, DbErr> {
        let slot = self.write_slot(scope).await?;
        Ok(WriteTransaction::new(self.begin_write().await?, slot))
    }

    /// Empties the write-ahead log of an `SQLite` file. Afterwards, neither the log nor the database file contains
    /// overwritten or deleted bytes. Returns false if the log could not be emptied and the caller must try again later.
    /// On PostgreSQL, does nothing and returns true.
    pub async fn empty_log(&self) -> Result<bool, DbErr> {
        if self.backend() != DbBackend::Sqlite {
            return Ok(true);
        }
        write_ahead_log::empty(&self.url).await
    }

    /// Writes a consistent copy of the `SQLite` database to a new file that only the file's owner can read. Reads and
    /// writes continue during the copy. If copying fails, no file is left behind.
    pub async fn back_up(&self, path: &Path) -> Result<(), BackupError> {
        if self.backend() != DbBackend::Sqlite {
            return Err(BackupError::NotSqlite);
        }
        backup::back_up(&self.url, path).await
    }

    /// Closes all connections except the billing writers'.
    pub async fn close(&self) -> Result<(), DbErr> {
        self.read.close().await;
        self.write.close_by_ref().await
    }

    /// Applies the pending migrations in one transaction. Only one process at a time can do this.
    pub async fn migrate(&self) -> Result<(), DbErr> {
        let txn = self.begin_write().await?;
        migrations::apply(&txn).await?;
        txn.commit().await
    }

    /// Returns whether no migration has been applied. Such a database does not belong to this program.
    pub async fn is_empty(&self) -> Result<bool, DbErr> {
        Ok(migrations::pending(&self.read).await? == migrations::total())
    }

    /// Returns whether all migrations that this program contains have been applied.
    pub async fn is_current(&self) -> Result<bool, DbErr> {
        Ok(migrations::pending(&self.read).await? == 0)
    }
}
