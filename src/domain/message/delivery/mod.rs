//! Delivers messages. The row of a message also serves as its job: the worker [claims](claim()) due messages, which
//! records the attempt before any network call, and then [settles](settle()) the outcomes. After a crash, the rows
//! contain the full state.
//!
//! A claim has a fixed capacity, which is distributed in rotation: first between LIVE and TEST, then between teams,
//! then between the accounts of a team. So the backlog of one account delays other accounts by only one turn. [`poll`]
//! finds the accounts with due messages, `fair_share` distributes the capacity, and [`rotation`] remembers whose turn
//! is next.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::FromQueryResult as _;

use crate::{app::App, domain::Fault};

mod claim;
mod fair_share;
mod lost_number;
pub mod poll;
pub mod rotation;
mod settle;
mod step;

pub use claim::{CLAIM_CAPACITY, claim};
pub use rotation::Rotation;
pub use settle::settle;
pub use step::{Claim, Claimed, Outcome, Step};

use rotation::{QUEUES, RotationPosition};

/// Timeout of a call to a carrier. It is much shorter than the lease of a message.
pub const CARRIER_DEADLINE: Duration = Duration::from_secs(20);
/// Maximum number of polls to measure the delivery lag. Each poll visits as many teams as the poll of a claim.
const LAG_PROBES_MAX: usize = 64;

/// Returns how long ago the oldest due message became due.
pub async fn lag(app: &App) -> Result<Duration, Fault> {
    let now = app.clock.now();
    let mut oldest: Option<DateTime<Utc>> = None;
    let mut positions: [RotationPosition; QUEUES.len()] = Default::default();
    for _ in 0..LAG_PROBES_MAX {
        let statement = poll::statement(app.db.backend(), &positions, now);
        let rows = poll::PolledRow::find_by_statement(statement).all(&app.db.read).await?;
        let due = rows.iter().filter_map(|row| row.due_at).filter(|due_at| *due_at <= now);
        oldest = oldest.into_iter().chain(due).min();
        let mut is_complete = true;
        for row in rows.iter().filter(|row| row.account_id.is_none() && row.team_part == 0) {
            let queue = usize::try_from(row.queue).unwrap_or(0);
            positions[queue] = RotationPosition::after(Some(row.team_id));
            is_complete = false;
        }
        if is_complete {
            break;
        }
    }
    Ok(oldest.and_then(|due_at| (now - due_at).to_std().ok()).unwrap_or_default())
}
