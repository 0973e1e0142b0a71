//! Settings and timeouts of connections.

use std::time::Duration;

use sea_orm::{
    ConnectOptions,
    sqlx::{
        Connection as _,
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
    },
};

/// How long a caller waits for a connection.
pub const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);
/// A connection that has been idle for longer is pinged before it is used, because it may have been lost.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(1);
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(8);

/// Session settings of reading connections on PostgreSQL.
///
/// The planner is restricted to index scans in the order of the result. Otherwise it may choose a
/// plan that is cheap for an account of average size and reads all rows of a larger one.
pub const POSTGRES_READER_OPTIONS: [(&str, &str); 6] = [
    ("default_transaction_read_only", "on"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];
/// Session settings of all connections on PostgreSQL. The timeouts are shorter than the request
/// timeout, so that a caller gets an error instead of no response.
pub(super) const POSTGRES_OPTIONS: [(&str, &str); 3] = [
    ("statement_timeout", "9s"),
    ("lock_timeout", "8s"),
    ("idle_in_transaction_session_timeout", "15s"),
];
/// Additional session settings of the billing writers on PostgreSQL.
///
/// Their statements are few, and each uses an index. A plan that was made while the tables were
/// nearly empty must not be kept (measured: 13,300 messages/s against 2,217).
pub(super) const POSTGRES_WRITER_OPTIONS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// Options of the pool for writing. `more` are additional session settings on PostgreSQL.
pub(super) fn write_pool(
    url: &str,
    connections: u32,
    more: &'static [(&'static str, &'static str)],
) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // PostgreSQL connections are pinged below, and only after a pause; SQLite needs no ping.
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|sqlite| {
            // In pages of 4 KiB. With a large cache, a page that many commits change is written back only once.
            let sqlite = sqlite.pragma("cache_size", "4000");
            // Deleted and overwritten content is zeroed, as the erasure of personal data requires.
            let sqlite = sqlite.pragma("secure_delete", "ON");
            sqlite_options(sqlite).pragma("wal_autocheckpoint", "4000")
        })
        // Closes a connection that is released inside a transaction. On a full disk, SQLite rolls back by
        // itself and the driver's ROLLBACK fails. The driver then still counts an open transaction, and
        // would run every later one as a savepoint that is never committed.
        .map_sqlx_sqlite_pool_opts(|pool| {
            pool.after_release(|connection, _| {
                Box::pin(async move {
                    if connection.is_in_transaction() {
                        // The driver may have queued a rollback; the ping runs it.
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

/// Options of every `SQLite` connection.
pub(super) fn sqlite_options(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
}
