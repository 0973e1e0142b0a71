//! Spans of time, as lists are filtered by them.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, Condition};
use uuid::Uuid;

/// How far the time in a row's id may be from the row's own, which was taken a moment before or after.
const ID_APART_MAX: TimeDelta = TimeDelta::seconds(10);

/// The last moment that an id can tell: it has 48 bits for it.
const ID_MILLIS_MAX: u128 = (1 << 48) - 1;

/// From included, to excluded; either may be open.
#[derive(Clone, Copy, Debug, Default)]
pub struct DateTimeRange {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

impl DateTimeRange {
    /// The condition on rows with this id and this time. Ids begin with the time that they were made at
    /// (`clock`), so an index of ids leads to the span, and only rows near its ends are looked at for their
    /// own time.
    pub fn on<C: ColumnTrait>(&self, id: C, time: C) -> Condition {
        let mut all = Condition::all();
        if let Some(from) = self.from {
            let is_surely = id.gte(first_id(from, ID_APART_MAX));
            all = all.add(id.gte(first_id(from, -ID_APART_MAX)));
            all = all.add(Condition::any().add(is_surely).add(time.gte(from)));
        }
        if let Some(to) = self.to {
            let is_surely = id.lt(first_id(to, -ID_APART_MAX));
            all = all.add(id.lt(first_id(to, ID_APART_MAX)));
            all = all.add(Condition::any().add(is_surely).add(time.lt(to)));
        }
        all
    }
}

/// The least id of the moment that is so far from this one.
fn first_id(at: DateTime<Utc>, by: TimeDelta) -> Uuid {
    let millis = at.timestamp_millis().saturating_add(by.num_milliseconds());
    Uuid::from_u128(u128::try_from(millis).unwrap_or(0).min(ID_MILLIS_MAX) << 80)
}
