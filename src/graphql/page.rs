//! Relay connections over the domain's pages.

use async_graphql::{
    Context, Object, OutputType, Result,
    connection::{Connection, Edge},
};

use crate::domain::{
    bad_input,
    page::{Page, PageArgs},
};

/// A connection with opaque cursors and a count of all rows.
pub type List<N> = Connection<String, N, Total>;

/// The count of a connection's rows, present if it was asked for.
pub struct Total(Option<u64>);

#[Object]
impl Total {
    /// How many there are in all pages together. Counted only when selected.
    async fn total_count(&self) -> Result<i32> {
        let total = self.0.and_then(|total| i32::try_from(total).ok());
        Ok(total.ok_or_else(|| bad_input("There are too many to be counted."))?)
    }
}

/// The arguments of a connection field; a count is asked for if the field's selection has one.
pub fn page_args(
    ctx: &Context<'_>,
    first: Option<i32>,
    after: Option<String>,
    last: Option<i32>,
    before: Option<String>,
) -> PageArgs {
    let with_total = ctx.look_ahead().field("totalCount").exists();
    PageArgs { first, after, last, before, with_total }
}

/// A page as a connection of `node`s.
pub fn list<M, N: OutputType>(page: Page<M>, node: impl Fn(M) -> N) -> List<N> {
    let mut connection = Connection::with_additional_fields(
        page.has_previous,
        page.has_next,
        Total(page.total),
    );
    connection.edges.extend(page.rows.into_iter().map(|(cursor, row)| Edge::new(cursor, node(row))));
    connection
}
