//! The pace of imports. A server has the same database, and only one of them writes an `SQLite` file at a time: one that
//! finds it locked tries again after a while, and would rarely find a moment between the transactions of an import.

use std::time::Duration;

use tokio::time::sleep;

/// After a transaction an import rests so many times as long as that took.
const PAUSE_RATIO: u32 = 3;
/// Rest at most: a stalled database must not make the import endless.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Leaves the database to others after a transaction of an import that took so long.
pub(super) async fn rest_after(transaction: Duration) {
    sleep((transaction * PAUSE_RATIO).min(PAUSE_MAX)).await;
}
