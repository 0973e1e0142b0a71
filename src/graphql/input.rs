//! Inputs that several features share.

use async_graphql::{ID, InputObject, MaybeUndefined, OneofObject};
use uuid::Uuid;

use super::scalars::{Date, DateTime};
use crate::domain::{account, billing::usage, range};

/// Parses an id. Returns `None` if the id is malformed. Callers treat a malformed id like an
/// unknown one.
pub fn parse_id(id: &ID) -> Option<Uuid> {
    Uuid::try_parse(id).ok()
}

/// Converts a field of an update. Returns `None` if the field is omitted, and `Some(None)` if it is
/// null.
pub fn patch<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

/// Converts each of the given values to another type.
pub fn all<A, B: From<A>>(given: Vec<A>) -> Vec<B> {
    given.into_iter().map(B::from).collect()
}

/// Reference to an account of the team, by id or externalId. An id from another team or a malformed
/// id is handled like an id that does not exist.
#[derive(OneofObject)]
pub enum AccountRef {
    /// Id of the account.
    Id(ID),
    /// Your own id for the sub-account.
    ExternalId(String),
}

impl From<AccountRef> for account::AccountRef {
    fn from(account: AccountRef) -> Self {
        match account {
            AccountRef::Id(id) => parse_id(&id).map_or(Self::Unknown, Self::Id),
            AccountRef::ExternalId(external_id) => Self::ExternalId(external_id),
        }
    }
}

/// Time range. If a bound is omitted, the range is open on that side.
#[derive(InputObject)]
pub struct DateTimeRange {
    /// Start of the range (inclusive).
    from: Option<DateTime>,
    /// End of the range (exclusive).
    to: Option<DateTime>,
}

impl From<Option<DateTimeRange>> for range::DateTimeRange {
    fn from(range: Option<DateTimeRange>) -> Self {
        range.map_or_else(Self::default, |range| Self {
            from: range.from.map(|from| from.0),
            to: range.to.map(|to| to.0),
        })
    }
}

/// Range of UTC days, including both ends (maximum 366 days).
#[derive(InputObject)]
pub struct DateRange {
    /// First day of the range (inclusive).
    from: Date,
    /// Last day of the range (inclusive).
    to: Date,
}

impl From<DateRange> for usage::DateRange {
    fn from(range: DateRange) -> Self {
        Self { from: range.from.0, to: range.to.0 }
    }
}
