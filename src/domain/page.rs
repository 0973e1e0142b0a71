//! Keyset pagination (Relay's cursor connections): the cost of a page does not depend on its position. A cursor is the
//! base64url encoding of a checksum, a version, the list with its order, the order's key and the row's id. A cursor
//! that was edited or belongs to another list or order is refused.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sea_orm::{
    Condition, EntityTrait, ExprTrait as _, IntoSimpleExpr as _, Order, sea_query::SimpleExpr,
};
use uuid::Uuid;

use super::{Fault, bad_input};

/// Default number of rows in a page.
pub const PAGE_DEFAULT: u64 = 20;
/// Maximum number of rows in a page.
pub const PAGE_MAX: u64 = 100;
/// Maximum number of bytes in a cursor. The longest key, which consists of a name and an external id, needs fewer
/// bytes.
const CURSOR_BYTES_MAX: usize = 4_096;
const CURSOR_VERSION: &str = "1";

/// The arguments of a connection, unchecked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageArgs {
    pub first: Option<i32>,
    pub after: Option<String>,
    pub last: Option<i32>,
    pub before: Option<String>,
    /// Whether the total was requested; rows are counted only if it was.
    pub with_total: bool,
}

/// One page, in the list's order, with a cursor for each row.
#[derive(Clone, Debug)]
pub struct Page<M> {
    pub rows: Vec<(Cursor, M)>,
    pub has_previous: bool,
    pub has_next: bool,
    /// The cursor from which to read the previous page: the first row, or the last row that the filter scanned.
    pub start: Option<Cursor>,
    /// The cursor from which to read the next page.
    pub end: Option<Cursor>,
    /// The total; `None` if it was not requested or is unknown ([`super::list`]).
    pub total: Option<u64>,
}

/// The position of a row in a list: its id, and the value by which the list is ordered. The value is empty if the list
/// is ordered only by id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    pub key: String,
    pub id: Uuid,
}

/// A position in a list from which to read the next page. It is encoded only when it is displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    list: &'static str,
    position: Position,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.position.encode(self.list))
    }
}

/// A checked request for one page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keyset {
    list: &'static str,
    limit: u64,
    is_backward: bool,
    after: Option<Position>,
    before: Option<Position>,
    with_total: bool,
}

/// The value by which a list is ordered before the id.
pub struct OrderKey<E: EntityTrait> {
    pub column: E::Column,
    /// Encodes a row's value for a cursor.
    pub of: fn(&E::Model) -> String,
    /// Decodes the value of a cursor.
    pub value: fn(&str) -> Option<sea_orm::Value>,
    /// Whether an index gives this order. In this case the column has text values.
    pub has_index: bool,
}

impl PageArgs {
    /// Checks the arguments. `list` names the list and its order.
    pub fn keyset(&self, list: &'static str) -> Result<Keyset, Fault> {
        let (size, is_backward) = match (self.first, self.last) {
            (Some(_), Some(_)) => return Err(bad_input("Set either first or last, not both.")),
            (Some(first), None) => (Some(first), false),
            (None, Some(last)) => (Some(last), true),
            (None, None) => (None, false),
        };
        let limit = match size {
            None => PAGE_DEFAULT,
            Some(size) => match u64::try_from(size) {
                Ok(size) if size <= PAGE_MAX => size,
                _ => {
                    return Err(bad_input(format!(
                        "The page size {size} is not valid (expected 0 to {PAGE_MAX})."
                    )));
                }
            },
        };
        let position = |cursor: &Option<String>| {
            cursor.as_deref().map(|cursor| Position::decode(list, cursor)).transpose()
        };
        Ok(Keyset {
            list,
            limit,
            is_backward,
            after: position(&self.after)?,
            before: position(&self.before)?,
            with_total: self.with_total,
        })
    }
}

impl Position {
    /// Returns the condition for the rows on one side of this position. If `is_inclusive` is set, the row at the
    /// position is included.
    pub fn beyond<E: EntityTrait>(
        &self,
        key: Option<&OrderKey<E>>,
        id: &SimpleExpr,
        is_greater: bool,
        is_inclusive: bool,
    ) -> Result<Condition, Fault> {
        let id = id.clone();
        let beyond_id = match (is_greater, is_inclusive) {
            (true, false) => id.gt(self.id),
            (true, true) => id.gte(self.id),
            (false, false) => id.lt(self.id),
            (false, true) => id.lte(self.id),
        };
        let Some(key) = key else { return Ok(Condition::all().add(beyond_id)) };
        let value = (key.value)(&self.key)
            .ok_or_else(|| bad_input("The cursor does not belong to this list."))?;
        let column = key.column.into_simple_expr();
        let (from_key, beyond_key) = if is_greater {
            (column.clone().gte(value.clone()), column.gt(value))
        } else {
            (column.clone().lte(value.clone()), column.lt(value))
        };
        // An index can be used for the first condition only.
        Ok(Condition::all().add(from_key).add(Condition::any().add(beyond_key).add(beyond_id)))
    }

    fn encode(&self, list: &str) -> String {
        let body = format!("{CURSOR_VERSION}\n{list}\n{}\n{}", self.id.simple(), self.key);
        let mut bytes = crc32fast::hash(body.as_bytes()).to_be_bytes().to_vec();
        bytes.extend_from_slice(body.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(list: &str, cursor: &str) -> Result<Self, Fault> {
        let read = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (checksum, body) = bytes.split_first_chunk::<4>()?;
            if u32::from_be_bytes(*checksum) != crc32fast::hash(body) {
                return None;
            }
            let mut parts = std::str::from_utf8(body).ok()?.splitn(4, '\n');
            if parts.next()? != CURSOR_VERSION || parts.next()? != list {
                return None;
            }
            let id = Uuid::try_parse(parts.next()?).ok()?;
            let key = parts.next().filter(|key| !key.contains('\0'))?;
            Some(Self { id, key: key.to_owned() })
        };
        check_cursor(cursor)?;
        read().ok_or_else(invalid_cursor)
    }
}

/// Refuses a cursor that is too long.
pub fn check_cursor(cursor: &str) -> Result<(), Fault> {
    if cursor.len() > CURSOR_BYTES_MAX { Err(invalid_cursor()) } else { Ok(()) }
}

fn invalid_cursor() -> Fault {
    bad_input("The cursor does not belong to this list in this order; start without a cursor.")
}

impl Keyset {
    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn with_total(&self) -> bool {
        self.with_total
    }

    /// Returns the condition for the rows between both cursors, for a list in `order`.
    pub fn bounds<E: EntityTrait>(
        &self,
        order: &Order,
        key: Option<&OrderKey<E>>,
        id: &SimpleExpr,
    ) -> Result<Condition, Fault> {
        let mut bounds = Condition::all();
        for (position, is_after) in [(&self.after, true), (&self.before, false)] {
            if let Some(position) = position {
                let is_greater = is_after == (*order == Order::Asc);
                bounds = bounds.add(position.beyond(key, id, is_greater, false)?);
            }
        }
        Ok(bounds)
    }

    /// Returns whether there is no cursor. In this case the page is the first or the last page.
    pub fn has_no_cursor(&self) -> bool {
        self.after.is_none() && self.before.is_none()
    }

    /// Returns the order in which rows are read. It is reversed when paging backward.
    pub fn reading_order(&self, order: &Order) -> Order {
        match (order, self.is_backward) {
            (Order::Asc, false) | (Order::Desc, true) => Order::Asc,
            _ => Order::Desc,
        }
    }

    /// Makes a page from rows that were read in [`Keyset::reading_order`]. If there are more rows than the limit, one
    /// more row is read. `scan_end` is the last scanned row if the scan ended before the list did.
    pub fn page<M>(
        &self,
        mut rows: Vec<M>,
        total: Option<u64>,
        scan_end: Option<Position>,
        position: impl Fn(&M) -> Position,
    ) -> Page<M> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let is_full = rows.len() > limit;
        let has_more = is_full || scan_end.is_some();
        rows.truncate(limit);
        if self.is_backward {
            rows.reverse();
        }
        let cursor = |position| Cursor { list: self.list, position };
        let rows: Vec<(Cursor, M)> =
            rows.into_iter().map(|row| (cursor(position(&row)), row)).collect();
        let mut start = rows.first().map(|(cursor, _)| cursor.clone());
        let mut end = rows.last().map(|(cursor, _)| cursor.clone());
        if let Some(scan_end) = scan_end.filter(|_| !is_full) {
            *(if self.is_backward { &mut start } else { &mut end }) = Some(cursor(scan_end));
        }
        let (has_previous, has_next) = if self.is_backward {
            (has_more, self.before.is_some())
        } else {
            (self.after.is_some(), has_more)
        };
        Page { rows, has_previous, has_next, start, end, total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::team::sub_account::search_text;

    #[test]
    fn a_cursor_is_valid_in_its_own_list_only() {
        let position = Position { key: "two\nlines".to_owned(), id: Uuid::from_u128(7) };
        let cursor = position.encode("messages");

        assert_eq!(Position::decode("messages", &cursor).expect("its own list"), position);
        assert!(Position::decode("contacts", &cursor).is_err());
        for at in 0..cursor.len() {
            let mut edited = cursor.clone().into_bytes();
            edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
            let edited = String::from_utf8(edited).expect("base64 is ASCII");
            assert!(Position::decode("messages", &edited).is_err(), "edited at {at}");
        }
    }

    /// The list of sub-accounts by name has the longest cursors.
    #[test]
    fn the_longest_cursor_is_valid() {
        let key = search_text(&"😀".repeat(200), Some(&"😀".repeat(200)));
        let position = Position { key, id: Uuid::max() };
        let cursor = position.encode("sub_accounts:name:desc");
        assert!(check_cursor(&cursor).is_ok());
        assert_eq!(
            Position::decode("sub_accounts:name:desc", &cursor).expect("its own list"),
            position
        );
        assert!(check_cursor(&"A".repeat(CURSOR_BYTES_MAX)).is_ok());
        assert!(check_cursor(&"A".repeat(CURSOR_BYTES_MAX + 1)).is_err());
    }
}
