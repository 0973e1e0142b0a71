//! Pauses between the transactions of an import. A server may use the same `SQLite` file, where only one process
//! writes at a time and a blocked writer polls the lock. Without pauses the server would rarely get the lock.

use std::time::Duration;

use tokio::time::sleep;

/// The pause after a transaction, as a multiple of the transaction's duration.
const PAUSE_RATIO: u32 = 3;
/// Maximum pause, so that a stalled database does not make the import endless.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Pauses after a transaction of an import, so that other processes can write. The parameter is the duration of the
/// transaction.
pub(super) async fn pause_after(transaction: Duration) {
    sleep((transaction * PAUSE_RATIO).min(PAUSE_MAX)).await;
}
