//! Settings and timeouts for connections.

use std::time::Duration;

use sea_orm::{
    ConnectOptions,
    sqlx::{
        Connection as _,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

/// Maximum time that a caller waits for a connection.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);
/// Time after which an idle connection is pinged before it is used again, because it may have been lost.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(8);

/// Session settings for connections for reading on PostgreSQL.
///
/// The settings restrict the planner to index scans in the order of the result. Otherwise the planner may choose a plan
/// that is cheap for an account of average size but reads all rows of a larger account.
pub const POSTGRES_READER_OPTIONS: [(&str, &str); 6] = [
    ("default_transaction_read_only", "on"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];
/// Session settings for all connections on PostgreSQL. The timeouts are shorter than a request's timeout, so that a
/// caller gets an error instead of no response.
pub(super) const POSTGRES_OPTIONS: [(&str, &str); 3] = [
    ("statement_timeout", "9s"),
    ("lock_timeout", "8s"),
    ("idle_in_transaction_session_timeout", "15s"),
];
/// Additional session settings for the billing writers on PostgreSQL.
///
/// The writers run only a few different statements, and each of them uses an index. The settings enforce this, because
/// otherwise a plan that was made while the tables were nearly empty could be kept (measured: 13,300 messages/s with
/// the settings, 2,217 without).
pub(super) const POSTGRES_WRITER_OPTIONS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Returns the options of the pool for writing. `more` are additional session settings on PostgreSQL.
pub(super) fn write_pool(
    url: &str,
    connections: u32,
    more: &'static [(&'static str, &'static str)],
) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A ping before each use is not needed. PostgreSQL connections are pinged below, and only after a pause. SQLite
        // connections need no ping.
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            // The size is in pages of 4 KiB. With a large cache, a page that many commits change is written back to the
            // file only once.
            let sqlite = sqlite.pragma("cache_size", "4000");
            // Deleted and overwritten content is zeroed, because the erasure of personal data requires this.
            let sqlite = sqlite.pragma("secure_delete", "ON");
            sqlite_options(sqlite).pragma("wal_autocheckpoint", "4000")
        })
        // Closes a connection that is released inside a transaction. On a full disk, SQLite rolls back by itself, and
        // the driver's ROLLBACK then fails. The driver still assumes an open transaction, and would run every later
        // transaction as a savepoint that is never committed.
        .map_sqlx_sqlite_pool_opts(|pool| {
            pool.after_release(|connection, _| {
                Box::pin(async move {
                    if connection.is_in_transaction() {
                        // The driver may have queued a rollback. The ping makes the driver run it.
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

/// Adds the options that every `SQLite` connection needs.
pub(super) fn sqlite_options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
}
