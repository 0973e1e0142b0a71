//! Delivery as rows: a message is its own job. The worker [claims](claim()) what is due, which marks the
//! attempt before any network call, and [settles](settle()) what came of it. What a crash leaves is in the
//! rows.
//!
//! A claim has room for a bounded number of messages, which goes round by turns: LIVE before TEST, which
//! has a part of it; then teams; then accounts of a team. So no backlog delays another team or account by
//! more than its turn. `turns` shares the room out and `positions` is how far the turns have come; `look`
//! finds who waits.

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

pub use claim::{ROOM, claim};
pub use rotation::Rotation;
pub use settle::settle;
pub use step::{Claim, Claimed, Outcome, Step};

use rotation::{LINES, RotationPosition};

/// How long a carrier may take to answer: well within the lease.
pub const CARRIER_DEADLINE: Duration = Duration::from_secs(20);
/// Looks that find out how late delivery is, each of so many teams as a claim's.
const LAG_PROBES_MAX: usize = 64;

/// How long the message that is due for longest has been due.
pub async fn lag(app: &App) -> Result<Duration, Fault> {
    let now = app.clock.now();
    let mut oldest: Option<DateTime<Utc>> = None;
    let mut positions: [RotationPosition; LINES.len()] = Default::default();
    for _ in 0..LAG_PROBES_MAX {
        let look = poll::statement(app.db.backend(), &positions, now);
        let seen = poll::Seen::find_by_statement(look).all(&app.db.read).await?;
        let due = seen.iter().filter_map(|row| row.due_at).filter(|due_at| *due_at <= now);
        oldest = oldest.into_iter().chain(due).min();
        let mut is_all = true;
        for row in seen.iter().filter(|row| row.account_id.is_none() && row.part == 0) {
            let line = usize::try_from(row.line).unwrap_or(0);
            positions[line] = RotationPosition::behind(Some(row.team_id));
            is_all = false;
        }
        if is_all {
            break;
        }
    }
    Ok(oldest.and_then(|due_at| (now - due_at).to_std().ok()).unwrap_or_default())
}
