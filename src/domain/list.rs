//! Reads lists at a cost that does not grow with the length of the list. An index gives the rows in the order of the
//! list. A filter is applied row by row, to a limited number of rows. If the limit is reached before the page is full,
//! the page ends there, and the scan continues from its end cursor. Totals are limited as well.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait as _, IntoSimpleExpr, Order,
    QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Asterisk, Expr, Query, SimpleExpr},
};
use uuid::Uuid;

use super::{
    Fault,
    page::{Keyset, OrderKey, Page, Position},
};
use crate::db::Readers;

/// The largest total that is reported. If there are more rows, the total is this number.
pub const TOTAL_MAX: u64 = 10_000;
/// Maximum number of rows that a filter scans for one page, and for one total.
pub const LOOKED_AT_MAX: u64 = 10_000;
/// Maximum number of rows that a slow filter scans for one page, and for one total. A slow filter reads much text or
/// rows of other tables.
pub const LONG_LOOKED_AT_MAX: u64 = 2_000;

/// A list: its rows and their order.
pub struct List<E: EntityTrait> {
    /// Rows that an index finds in the list's order.
    rows: Select<E>,
    /// A condition that is checked row by row.
    filter: Condition,
    scanned_max: u64,
    order: Order,
    key: Option<OrderKey<E>>,
    id: SimpleExpr,
    id_of: fn(&E::Model) -> Uuid,
}

/// The data that a page needs in addition to its rows.
pub struct Frame<E: EntityTrait> {
    keyset: Keyset,
    key: Option<OrderKey<E>>,
    id_of: fn(&E::Model) -> Uuid,
    total: Option<u64>,
    /// The last scanned row, if there are more rows after it.
    scan_end: Option<Position>,
}

impl<E> List<E>
where
    E: EntityTrait,
    E::Model: Send + Sync,
{
    /// Creates a list that is ordered by id, newest row first. Ids are ordered by time.
    pub fn newest_first(rows: Select<E>, id: E::Column, id_of: fn(&E::Model) -> Uuid) -> Self {
        Self {
            rows,
            filter: Condition::all(),
            scanned_max: LOOKED_AT_MAX,
            order: Order::Desc,
            key: None,
            id: id.into_simple_expr(),
            id_of,
        }
    }

    /// Changes the order.
    #[must_use]
    pub fn ordered(self, order: Order, key: Option<OrderKey<E>>) -> Self {
        Self { order, key, ..self }
    }

    /// Adds a filter. No index is used for the filter, because such an index would find the rows in another order, and
    /// all of them would have to be read.
    #[must_use]
    pub fn filtered(self, filter: Condition) -> Self {
        Self { filter: opaque(filter), ..self }
    }

    /// Marks the filter as slow. This lowers the maximum number of rows that the filter scans.
    #[must_use]
    pub fn with_slow_filter(self) -> Self {
        Self { scanned_max: LONG_LOOKED_AT_MAX, ..self }
    }

    /// Takes the ids of the rows from this column of a joined table. An index of the joined table gives the order.
    #[must_use]
    pub fn by_id_in(self, id: impl IntoSimpleExpr) -> Self {
        Self { id: id.into_simple_expr(), ..self }
    }

    /// Reads one page.
    pub async fn page(self, db: &Readers, keyset: Keyset) -> Result<Page<E::Model>, Fault> {
        let (select, frame) = self.begin(db, keyset).await?;
        Ok(frame.page(select.all(db).await?))
    }

    /// Returns the query for a page, and the frame that makes a page from the rows of the query.
    pub async fn begin(self, db: &Readers, keyset: Keyset) -> Result<(Select<E>, Frame<E>), Fault> {
        let bounds = keyset.bounds(&self.order, self.key.as_ref(), &self.id)?;
        let scan_end = if self.has_filter() {
            self.scan_end(db, &keyset, bounds.clone()).await?
        } else {
            None
        };
        let total = if keyset.with_total() {
            self.total(db, &keyset, scan_end.is_some()).await?
        } else {
            None
        };
        let reading = keyset.reading_order(&self.order);
        let is_scanned = match &scan_end {
            Some(scan_end) => {
                scan_end.beyond(self.key.as_ref(), &self.id, reading != Order::Asc, true)?
            }
            None => Condition::all(),
        };
        let select = self.rows.filter(bounds).filter(is_scanned).filter(self.filter);
        let select = in_order(select, self.key.as_ref(), self.id, &reading);
        let select = select.limit(keyset.limit() + 1);
        let Self { key, id_of, .. } = self;
        Ok((select, Frame { keyset, key, id_of, total, scan_end }))
    }

    /// Returns whether the filter scans the rows one by one in the order of the list. Without an index for the order,
    /// all rows must be read before their order is known.
    fn has_filter(&self) -> bool {
        !self.filter.is_empty() && self.key.as_ref().is_none_or(|key| key.has_index)
    }

    /// Returns the last row that the filter may scan for a page, if there are more rows after it.
    async fn scan_end(
        &self,
        db: &Readers,
        keyset: &Keyset,
        bounds: Condition,
    ) -> Result<Option<Position>, Fault> {
        let select = self.rows.clone().select_only().expr_as(self.id.clone(), "id");
        let select = match &self.key {
            Some(key) => select.expr_as(key.column.into_simple_expr(), "key"),
            None => select.expr_as(Expr::cust("NULL"), "key"),
        };
        let reading = keyset.reading_order(&self.order);
        let select = in_order(select.filter(bounds), self.key.as_ref(), self.id.clone(), &reading);
        let select = select.offset(self.scanned_max - 1).limit(2);
        let last: Vec<(Uuid, Option<String>)> = select.into_tuple().all(db).await?;
        Ok(match last.as_slice() {
            [(id, key), _] => Some(Position { id: *id, key: key.clone().unwrap_or_default() }),
            _ => None,
        })
    }

    /// Returns the number of rows, at most [`TOTAL_MAX`]; `None` if the filter would have to scan too many rows.
    /// `is_too_long` means that the scan of the rows after the cursor has already shown this.
    async fn total(
        &self,
        db: &Readers,
        keyset: &Keyset,
        is_too_long: bool,
    ) -> Result<Option<u64>, Fault> {
        let is_too_long = is_too_long
            || (self.has_filter()
                && !keyset.has_no_cursor()
                && self.scan_end(db, keyset, Condition::all()).await?.is_some());
        if is_too_long {
            return Ok(None);
        }
        let counted = self.rows.clone().filter(self.filter.clone());
        let counted = counted.select_only().expr_as(Expr::cust("1"), "one");
        // The order makes the planner use the index, regardless of its estimate of the number of rows.
        let counted = counted.order_by(self.id.clone(), self.order.clone()).limit(TOTAL_MAX);
        let count = Query::select()
            .expr(Expr::col(Asterisk).count())
            .from_subquery(counted.into_query(), "counted")
            .to_owned();
        let row = db.query_one(&count).await?.ok_or(Fault::Broken("a count returns one row"))?;
        let count: i64 = row.try_get_by_index(0)?;
        Ok(u64::try_from(count).ok())
    }
}

impl<E: EntityTrait> Frame<E> {
    /// Makes a page from the rows that were read. One row more than the limit is read if it exists, so that it is known
    /// whether there are more rows.
    pub fn page(self, rows: Vec<E::Model>) -> Page<E::Model> {
        let Self { keyset, key, id_of, total, scan_end } = self;
        keyset.page(rows, total, scan_end, |row| Position {
            key: key.as_ref().map(|key| (key.of)(row)).unwrap_or_default(),
            id: id_of(row),
        })
    }
}

/// Returns the condition that a column has one of these values. Duplicates are removed, so that the length of the
/// statement is limited by the number of different values.
pub fn is_one_of<V>(column: impl ColumnTrait, values: &[V]) -> SimpleExpr
where
    V: Copy + PartialEq + Into<sea_orm::Value>,
{
    let mut distinct: Vec<V> = Vec::new();
    for value in values {
        if !distinct.contains(value) {
            distinct.push(*value);
        }
    }
    column.is_in(distinct)
}

/// Returns the same condition in a form for which planners do not use an index.
fn opaque(condition: Condition) -> Condition {
    if condition.is_empty() {
        return condition;
    }
    let case = Expr::case(condition, Expr::cust("true")).finally(Expr::cust("false"));
    Condition::all().add(SimpleExpr::Case(Box::new(case)))
}

fn in_order<E: EntityTrait>(
    select: Select<E>,
    key: Option<&OrderKey<E>>,
    id: SimpleExpr,
    order: &Order,
) -> Select<E> {
    let select = match key {
        Some(key) => select.order_by(key.column, order.clone()),
        None => select,
    };
    select.order_by(id, order.clone())
}
