//! Reading lists within bounds that do not grow with them. An index gives the rows of a list in its order; what
//! a filter asks for besides is looked at row by row, and so many rows at most: a page that is not full by then
//! ends there, and its end cursor leads on. Totals end as well.

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait as _, FromQueryResult,
    IntoSimpleExpr, Order, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select,
    sea_query::{Asterisk, Expr, Query, SimpleExpr},
};
use uuid::Uuid;

use super::{
    Fault,
    page::{Keyset, OrderKey, Page, Position},
};
use crate::db::Readers;

/// The largest total: it stands for all beyond it.
pub const TOTAL_MAX: u64 = 10_000;
/// Rows that a filter looks at for one page, and for one total, at most.
pub const LOOKED_AT_MAX: u64 = 10_000;
/// The same where it takes long to look at a row: at much text, or at rows of other tables.
pub const LONG_LOOKED_AT_MAX: u64 = 2_000;

/// A list: what is in it, and in which order.
pub struct List<E: EntityTrait> {
    /// Rows that an index finds in the list's order.
    rows: Select<E>,
    /// What they must fulfil besides.
    filter: Condition,
    looked_at_max: u64,
    order: Order,
    key: Option<OrderKey<E>>,
    id: SimpleExpr,
    id_of: fn(&E::Model) -> Uuid,
}

/// What a page is made of besides its rows.
pub struct Frame<E: EntityTrait> {
    keyset: Keyset,
    key: Option<OrderKey<E>>,
    id_of: fn(&E::Model) -> Uuid,
    total: Option<u64>,
    /// The last row that was looked at, where there are more.
    reach: Option<Position>,
}

impl<E> List<E>
where
    E: EntityTrait,
    E::Model: Send + Sync,
{
    /// The newest first: by id, which is ordered by time.
    pub fn newest_first(rows: Select<E>, id: E::Column, id_of: fn(&E::Model) -> Uuid) -> Self {
        Self {
            rows,
            filter: Condition::all(),
            looked_at_max: LOOKED_AT_MAX,
            order: Order::Desc,
            key: None,
            id: id.into_simple_expr(),
            id_of,
        }
    }

    /// In another order.
    #[must_use]
    pub fn ordered(self, order: Order, key: Option<OrderKey<E>>) -> Self {
        Self { order, key, ..self }
    }

    /// Of these only what fulfils this. No index is looked in for it, whatever there is: it would find rows in
    /// another order, and all of them would be read.
    #[must_use]
    pub fn filtered(self, filter: Condition) -> Self {
        Self { filter: opaque(filter), ..self }
    }

    /// With a filter that takes long to look at a row.
    #[must_use]
    pub fn long_to_look_at(self) -> Self {
        Self { looked_at_max: LONG_LOOKED_AT_MAX, ..self }
    }

    /// With the rows' ids in this column of a joined table, whose index gives the order.
    #[must_use]
    pub fn by_id_in(self, id: impl IntoSimpleExpr) -> Self {
        Self { id: id.into_simple_expr(), ..self }
    }

    /// Reads one page.
    pub async fn page(self, db: &Readers, keyset: Keyset) -> Result<Page<E::Model>, Fault> {
        self.page_as::<E::Model>(db, keyset).await
    }

    /// Reads one page, as rows `R`.
    pub async fn page_as<R>(self, db: &Readers, keyset: Keyset) -> Result<Page<E::Model>, Fault>
    where
        E::Model: From<R>,
        R: FromQueryResult + Send + Sync,
    {
        let (select, frame) = self.begin(db, keyset).await?;
        let rows = select.into_model::<R>().all(db).await?;
        Ok(frame.page(rows.into_iter().map(E::Model::from).collect()))
    }

    /// What to read for a page, and what makes a page of that.
    pub async fn begin(self, db: &Readers, keyset: Keyset) -> Result<(Select<E>, Frame<E>), Fault> {
        let bounds = keyset.bounds(&self.order, self.key.as_ref(), &self.id)?;
        let reach =
            if self.has_filter() { self.reach(db, &keyset, bounds.clone()).await? } else { None };
        let total = if keyset.with_total() {
            self.total(db, &keyset, reach.is_some()).await?
        } else {
            None
        };
        let reading = keyset.reading_order(&self.order);
        let within_reach = match &reach {
            Some(reach) => {
                reach.beyond(self.key.as_ref(), &self.id, reading != Order::Asc, true)?
            }
            None => Condition::all(),
        };
        let select = self.rows.filter(bounds).filter(within_reach).filter(self.filter);
        let select = in_order(select, self.key.as_ref(), self.id, &reading);
        let select = select.limit(keyset.limit() + 1);
        let Self { key, id_of, .. } = self;
        Ok((select, Frame { keyset, key, id_of, total, reach }))
    }

    /// Whether rows are looked at one by one in the list's order. Without an index that order is known only
    /// once all were looked at.
    fn has_filter(&self) -> bool {
        !self.filter.is_empty() && self.key.as_ref().is_none_or(|key| key.has_index)
    }

    /// The last row that a page looks at, if there are more behind it.
    async fn reach(
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
        let select = select.offset(self.looked_at_max - 1).limit(2);
        let last: Vec<(Uuid, Option<String>)> = select.into_tuple().all(db).await?;
        Ok(match last.as_slice() {
            [(id, key), _] => Some(Position { id: *id, key: key.clone().unwrap_or_default() }),
            _ => None,
        })
    }

    /// How many rows there are; [`TOTAL_MAX`] stands for more, and `None` for what would have to be looked for
    /// among more than the filter looks at. `is_long` is whether more than that are left from the cursors on.
    async fn total(
        &self,
        db: &Readers,
        keyset: &Keyset,
        is_long: bool,
    ) -> Result<Option<u64>, Fault> {
        let is_long = is_long
            || (self.has_filter()
                && !keyset.is_from_an_end()
                && self.reach(db, keyset, Condition::all()).await?.is_some());
        if is_long {
            return Ok(None);
        }
        let counted = self.rows.clone().filter(self.filter.clone());
        let counted = counted.select_only().expr_as(Expr::cust("1"), "one");
        // By an index, whatever the planner thinks of the number of rows.
        let counted = counted.order_by(self.id.clone(), self.order.clone()).limit(TOTAL_MAX);
        let count = Query::select()
            .expr(Expr::col(Asterisk).count())
            .from_subquery(counted.into_query(), "counted")
            .to_owned();
        let row = db.query_one(&count).await?.ok_or(Fault::Broken("a count is a row"))?;
        let count: i64 = row.try_get_by_index(0)?;
        Ok(u64::try_from(count).ok())
    }
}

impl<E: EntityTrait> Frame<E> {
    /// Makes a page of the rows that were read, one more than it has if there are more.
    pub fn page(self, rows: Vec<E::Model>) -> Page<E::Model> {
        let Self { keyset, key, id_of, total, reach } = self;
        keyset.page(rows, total, reach, |row| Position {
            key: key.as_ref().map(|key| (key.of)(row)).unwrap_or_default(),
            id: id_of(row),
        })
    }
}

/// Whether a column has one of these values. Each is sent once, however often it is given: no statement is longer than
/// all values there are.
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

/// The same condition, of which planners make nothing.
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
