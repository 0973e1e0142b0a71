//! Relay's cursor connections over the domain's pages.

use std::borrow::Cow;

use async_graphql::{Context, Object, OutputType, Result, SimpleObject, TypeName};

use crate::domain::page::{Cursor, Page, PageArgs, check_cursor};

/// One page of a list (Relay's cursor connections).
pub struct List<N> {
    edges: Vec<ListEdge<N>>,
    has_previous: bool,
    has_next: bool,
    start: Option<Cursor>,
    end: Option<Cursor>,
    /// Present if it was asked for, and is known.
    total: Option<u64>,
}

/// A node of a page, with its place in the list.
pub struct ListEdge<N> {
    cursor: Cursor,
    node: N,
}

/// Where a page stands in its list.
#[derive(SimpleObject)]
pub struct PageInfo {
    /// Whether there is more before this page. Paging forward, this is so if a cursor was given.
    has_previous_page: bool,
    /// Whether there is more after this page. Paging backward, this is so if a cursor was given.
    has_next_page: bool,
    /// The cursor to page backward from: that of the page's first node, or where a filter left off.
    /// Null if there is neither.
    start_cursor: Option<String>,
    /// The cursor to page forward from: that of the page's last node, or where a filter left off.
    /// Null if there is neither.
    end_cursor: Option<String>,
}

impl<N: OutputType> TypeName for List<N> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Connection", N::type_name()).into()
    }
}

impl<N: OutputType> TypeName for ListEdge<N> {
    fn type_name() -> Cow<'static, str> {
        format!("{}Edge", N::type_name()).into()
    }
}

/// One page of a list. A filter looks at 10000 nodes for one page at most, or at 2000: a page may then have fewer nodes
/// than were asked for, or none, while there are more, and its end cursor leads on.
#[Object(name_type)]
impl<N: OutputType> List<N> {
    /// The page's nodes with their cursors.
    async fn edges(&self) -> &[ListEdge<N>] {
        &self.edges
    }

    /// The page's nodes.
    async fn nodes(&self) -> Vec<&N> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }

    /// Where the page stands in its list.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_previous_page: self.has_previous,
            has_next_page: self.has_next,
            start_cursor: self.start.as_ref().map(Cursor::to_string),
            end_cursor: self.end.as_ref().map(Cursor::to_string),
        }
    }

    /// How many nodes all pages have together. At most 10000: that value means 10000 or more. Null where a
    /// filter would have to look at more nodes than that: narrow it, by createdAt where there is that.
    /// Counted only when selected.
    async fn total_count(&self) -> Option<i32> {
        self.total.and_then(|total| i32::try_from(total).ok())
    }
}

/// A node of a page, with its place in the list.
#[Object(name_type)]
impl<N: OutputType> ListEdge<N> {
    /// The node's place in this list and order, to page from; it says nothing else.
    async fn cursor(&self) -> String {
        self.cursor.to_string()
    }

    /// The node.
    async fn node(&self) -> &N {
        &self.node
    }
}

/// The arguments of a connection field; a count is asked for if the field's selection has one.
pub fn page_args(
    ctx: &Context<'_>,
    first: Option<i32>,
    after: Option<String>,
    last: Option<i32>,
    before: Option<String>,
) -> Result<PageArgs> {
    // Now, for each of many accounts keeps the arguments of its own page.
    for cursor in [&after, &before].into_iter().flatten() {
        check_cursor(cursor)?;
    }
    let with_total = ctx.look_ahead().field("totalCount").exists();
    Ok(PageArgs { first, after, last, before, with_total })
}

/// A page as a connection of `node`s.
pub fn list<M, N: OutputType>(page: Page<M>, node: impl Fn(M) -> N) -> List<N> {
    let edge = |(cursor, row)| ListEdge { cursor, node: node(row) };
    List {
        edges: page.rows.into_iter().map(edge).collect(),
        has_previous: page.has_previous,
        has_next: page.has_next,
        start: page.start,
        end: page.end,
        total: page.total,
    }
}
