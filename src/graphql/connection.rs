//! Converts the domain's pages to Relay's cursor connections.

use std::borrow::Cow;

use async_graphql::{
    Context, Object, OutputType, Result, SimpleObject, TypeName,
    registry::{Deprecation, MetaField, MetaInputValue, MetaType, Registry},
};

use crate::domain::page::{Cursor, Page, PageArgs, check_cursor};

/// One page of a list, as a connection (Relay's cursor connections).
pub struct List<N> {
    edges: Vec<ListEdge<N>>,
    has_previous: bool,
    has_next: bool,
    start: Option<Cursor>,
    end: Option<Cursor>,
    /// The total number of nodes; `None` if it was not requested or is not known.
    total: Option<u64>,
}

/// A node and its cursor.
pub struct ListEdge<N> {
    cursor: Cursor,
    node: N,
}

/// Information about the position of a page in its list.
#[derive(SimpleObject)]
pub struct PageInfo {
    /// Whether there are more items before this page. When paging forward, it is true if the
    /// argument after was given.
    has_previous_page: bool,
    /// Whether there are more items after this page. When paging backward, it is true if the
    /// argument before was given.
    has_next_page: bool,
    /// Cursor from which to continue when paging backward. It is that of the first node of the
    /// page, or of the node at which the filter stopped. Null if there is neither.
    start_cursor: Option<String>,
    /// Cursor from which to continue when paging forward. It is that of the last node of the page,
    /// or of the node at which the filter stopped. Null if there is neither.
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

/// One page of a list. To fill a filtered page, the server examines a maximum of 10,000 nodes
/// (2,000 when searching contacts or filtering by several tags or by metadata). The page can then
/// have fewer nodes than requested, or none, although more exist. In this case, continue from its
/// endCursor, or from its startCursor when paging backward.
#[Object(name_type)]
impl<N: OutputType> List<N> {
    /// The nodes of the page with their cursors, in the order of the list.
    async fn edges(&self) -> &[ListEdge<N>] {
        &self.edges
    }

    /// The nodes of the page, in the order of the list.
    async fn nodes(&self) -> Vec<&N> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }

    /// Information about the position of the page in its list.
    async fn page_info(&self) -> PageInfo {
        PageInfo {
            has_previous_page: self.has_previous,
            has_next_page: self.has_next,
            start_cursor: self.start.as_ref().map(Cursor::to_string),
            end_cursor: self.end.as_ref().map(Cursor::to_string),
        }
    }

    /// Total number of nodes in the list. The value 10000 means 10,000 or more. Null if the server
    /// would have to examine more than 10,000 nodes to apply the filter (2,000 when searching
    /// contacts or filtering by several tags or by metadata); use a narrower filter, such as a
    /// shorter createdAt range. It is computed only if selected.
    async fn total_count(&self) -> Option<i32> {
        self.total.and_then(|total| i32::try_from(total).ok())
    }
}

/// A node of a page with its cursor.
#[Object(name_type)]
impl<N: OutputType> ListEdge<N> {
    /// Opaque cursor of the node, valid for this list and order only. Pass it as the argument after
    /// or before.
    async fn cursor(&self) -> String {
        self.cursor.to_string()
    }

    /// The node.
    async fn node(&self) -> &N {
        &self.node
    }
}

/// The arguments of each field that returns a connection. They follow the field's own arguments.
/// Each entry contains the name, the type and the description.
const PAGE_ARGS: [(&str, &str, &str); 4] = [
    (
        "first",
        "Int",
        "Number of items to return from the start of the list (0 to 100, default 20).",
    ),
    ("after", "String", "Return only items after this cursor."),
    (
        "last",
        "Int",
        "Number of items to return from the end of the list (0 to 100). Use it instead of the argument first.",
    ),
    ("before", "String", "Return only items before this cursor."),
];

/// Adds [`PAGE_ARGS`] to the fields that return a connection.
pub fn add_page_args(registry: &mut Registry) {
    for of_type in registry.types.values_mut() {
        let MetaType::Object { fields, .. } = of_type else { continue };
        let is_connection = |field: &&mut MetaField| field.ty.ends_with("Connection!");
        for field in fields.values_mut().filter(is_connection) {
            field.args.extend(PAGE_ARGS.map(|(name, of_type, description)| {
                let arg = MetaInputValue {
                    name: name.to_owned(),
                    description: Some(description.to_owned()),
                    ty: of_type.to_owned(),
                    deprecation: Deprecation::NoDeprecated,
                    default_value: None,
                    visible: None,
                    inaccessible: false,
                    tags: vec![],
                    is_secret: false,
                    directive_invocations: vec![],
                };
                (name.to_owned(), arg)
            }));
        }
    }
}

/// Reads the values of [`PAGE_ARGS`]. The total is requested if the field selects `totalCount`.
pub fn page_args(ctx: &Context<'_>) -> Result<PageArgs> {
    let (_, first) = ctx.param_value("first", None)?;
    let (_, after): (_, Option<String>) = ctx.param_value("after", None)?;
    let (_, last) = ctx.param_value("last", None)?;
    let (_, before): (_, Option<String>) = ctx.param_value("before", None)?;
    // The cursors are checked here, before the arguments are copied for each of many accounts.
    for cursor in [&after, &before].into_iter().flatten() {
        check_cursor(cursor)?;
    }
    let with_total = ctx.look_ahead().field("totalCount").exists();
    Ok(PageArgs { first, after, last, before, with_total })
}

/// Converts a page to a connection.
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
