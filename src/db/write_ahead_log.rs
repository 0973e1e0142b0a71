//! Empties the write-ahead log of an `SQLite` file.

use std::{str::FromStr as _, time::Duration};

use sea_orm::{
    DbErr,
    sqlx::{self, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions},
};

use super::{
    error::{connection_error, query_error},
    options::sqlite_options,
};

/// Maximum time for which emptying the log may block writers.
const BLOCKED_MAX: Duration = Duration::from_millis(100);

/// Copies the content of the write-ahead log to the database file, and empties the log. Only after this does neither
/// file contain overwritten or deleted bytes.
///
/// Returns false if a reader still needs the log, or if a reader or a writer blocked the checkpoint for longer than
/// [`BLOCKED_MAX`].
pub(super) async fn empty(url: &str) -> Result<bool, DbErr> {
    let options = SqliteConnectOptions::from_str(url).map_err(connection_error)?;
    // A separate connection is used, because emptying the log waits for readers, and the write connection must not wait
    // for them.
    let options = sqlite_options(options).create_if_missing(false);
    let options = options.busy_timeout(BLOCKED_MAX).disable_statement_logging();
    let mut connection = options.connect().await.map_err(query_error)?;
    let is_empty = async {
        // A passive checkpoint copies most pages without blocking writers. The truncating checkpoint blocks writers,
        // but then has little left to copy.
        let copied = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)");
        let (was_busy, pages, copied): (i64, i64, i64) = copied.fetch_one(&mut connection).await?;
        if was_busy != 0 || copied < pages {
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
