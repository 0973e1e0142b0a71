//! Time ranges as filters of lists.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, Condition};
use uuid::Uuid;

/// Maximum difference between the time in a row's id and the row's own time. The times differ because the clock is read
/// separately for each of them.
const ID_SKEW_MAX: TimeDelta = TimeDelta::seconds(10);

/// The latest time that an id can contain: 48 bits of milliseconds.
const ID_MILLIS_MAX: u128 = (1 << 48) - 1;

/// A range of times: `from` is included and `to` is excluded; `None` means no bound.
#[derive(Clone, Copy, Debug, Default)]
pub struct DateTimeRange {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

impl DateTimeRange {
    /// Returns the condition that rows are in the range, for rows with this id and this time. Ids begin with their
    /// creation time (`clock`), so the index of the ids finds the range. The rows' own time is compared only near the
    /// bounds.
    pub fn on<C: ColumnTrait>(&self, id: C, time: C) -> Condition {
        let mut all = Condition::all();
        if let Some(from) = self.from {
            let is_certain = id.gte(first_id(from, ID_SKEW_MAX));
            all = all.add(id.gte(first_id(from, -ID_SKEW_MAX)));
            all = all.add(Condition::any().add(is_certain).add(time.gte(from)));
        }
        if let Some(to) = self.to {
            let is_certain = id.lt(first_id(to, -ID_SKEW_MAX));
            all = all.add(id.lt(first_id(to, ID_SKEW_MAX)));
            all = all.add(Condition::any().add(is_certain).add(time.lt(to)));
        }
        all
    }
}

/// Returns the smallest id that has the time `at + by`.
fn first_id(at: DateTime<Utc>, by: TimeDelta) -> Uuid {
    let millis = at.timestamp_millis().saturating_add(by.num_milliseconds());
    Uuid::from_u128(u128::try_from(millis).unwrap_or(0).min(ID_MILLIS_MAX) << 80)
}
