//! Compares responses from a small schema, in which some fields fail, with the specification.

use std::collections::HashMap;

use async_graphql::{
    EmptyMutation, EmptySubscription, Object, Pos, Positioned, Request, Result, Schema,
    ValidationMode, Variables,
    parser::types::{DocumentOperations, ExecutableDocument},
};

use super::*;
use crate::graphql::execution::{collect::collect, schema_index::INTROSPECTION};

struct Query;
struct Node;

#[Object]
impl Query {
    async fn node(&self) -> Option<Node> {
        Some(Node)
    }
    async fn required(&self) -> Node {
        Node
    }
    async fn nodes(&self) -> Option<Vec<Node>> {
        Some(vec![Node, Node])
    }
    async fn null(&self) -> Option<Node> {
        None
    }
    async fn failing(&self) -> Result<Option<i32>> {
        Err("failed".into())
    }
}

#[Object]
impl Node {
    async fn a(&self) -> i32 {
        1
    }
    async fn failing(&self) -> Result<Option<i32>> {
        Err("failed".into())
    }
    async fn failing_required(&self) -> Result<i32> {
        Err("failed".into())
    }
    async fn node(&self) -> Option<Node> {
        Some(Node)
    }
    async fn required(&self) -> Node {
        Node
    }
    async fn scalars(&self) -> Option<Vec<Result<i32>>> {
        Some(vec![Ok(1), Err("failed".into())])
    }
}

/// Returns the completed response to a query.
async fn response(query: &str) -> Response {
    let schema = Schema::build(Query, EmptyMutation, EmptySubscription);
    let schema = schema.validation_mode(ValidationMode::Fast).finish();
    let index = schema.execute(INTROSPECTION).await.data.into_json().expect("plain JSON");
    let index = SchemaIndex::read(index).expect("an introspection");
    let variables = Variables::from_json(serde_json::json!({ "yes": true, "no": false }));
    let document = async_graphql::parser::parse_query(query).expect("a document");
    let (_, operation) = document.operations.iter().next().expect("an operation");
    let operation =
        collect(&document, &operation.node, &variables, &index).expect("no condition is null");
    let mut request = Request::new("").variables(variables);
    let executed = Positioned::new(operation.clone(), Pos::default());
    request.set_parsed_query(ExecutableDocument {
        operations: DocumentOperations::Single(executed),
        fragments: HashMap::new(),
    });
    let mut response = schema.execute(request).await;
    complete_response(&mut response, &operation, &index);
    response
}

async fn data(query: &str) -> String {
    response(query).await.data.into_json().expect("plain JSON").to_string()
}

#[tokio::test]
async fn a_failed_field_is_null_or_nulls_its_nearest_nullable_parent() {
    for (query, expected) in [
        ("{ node { a failing } }", r#"{"node":{"a":1,"failing":null}}"#),
        ("{ node { failing a } }", r#"{"node":{"failing":null,"a":1}}"#),
        ("{ node { a failingRequired } }", r#"{"node":null}"#),
        ("{ node { failingRequired } }", r#"{"node":null}"#),
        ("{ node { failing } }", r#"{"node":{"failing":null}}"#),
        ("{ node { a required { failingRequired } } }", r#"{"node":null}"#),
        ("{ node { a node { failingRequired a } } }", r#"{"node":{"a":1,"node":null}}"#),
        ("{ required { failingRequired } }", "null"),
        ("{ failing }", r#"{"failing":null}"#),
        ("{ x: failing y: node { b: a c: failing } }", r#"{"x":null,"y":{"b":1,"c":null}}"#),
        ("{ nodes { a failing } }", r#"{"nodes":[{"a":1,"failing":null},{"a":1,"failing":null}]}"#),
        ("{ nodes { failing } }", r#"{"nodes":[{"failing":null},{"failing":null}]}"#),
        ("{ nodes { a failingRequired } }", r#"{"nodes":null}"#),
        ("{ node { scalars } }", r#"{"node":{"scalars":null}}"#),
        ("{ null { a } node { failing } }", r#"{"null":null,"node":{"failing":null}}"#),
        (
            "{ node { ...F } } fragment F on Node { failing a }",
            r#"{"node":{"failing":null,"a":1}}"#,
        ),
        ("{ node { a ... on Node { failing } a } }", r#"{"node":{"a":1,"failing":null}}"#),
        ("query($yes: Boolean!) { node { a failing @skip(if: $yes) } }", r#"{"node":{"a":1}}"#),
        (
            "query($no: Boolean = false) { node { a failing @include(if: $no) } }",
            r#"{"node":{"a":1}}"#,
        ),
        ("{ node { a @skip(if: true) } }", r#"{"node":{}}"#),
        ("{ node { ...F } } fragment F on Node { a @include(if: false) }", r#"{"node":{}}"#),
        ("{ required { ... @skip(if: true) { a } } }", r#"{"required":{}}"#),
        ("{ null { a @skip(if: true) } }", r#"{"null":null}"#),
        ("{ node { failing @skip(if: true) } failing }", r#"{"node":{},"failing":null}"#),
        ("{ nodes { __typename @skip(if: true) a @skip(if: true) } }", r#"{"nodes":[{},{}]}"#),
        ("{ required @skip(if: true) { a } }", "{}"),
        (
            "{ node { __typename failing } __typename }",
            r#"{"node":{"__typename":"Node","failing":null},"__typename":"Query"}"#,
        ),
    ] {
        // serde_json sorts the keys. The next test checks their order.
        let sorted: serde_json::Value = expected.parse().expect("JSON");
        assert_eq!(data(query).await, sorted.to_string(), "{query}");
    }
}

#[tokio::test]
async fn keys_have_the_order_of_their_selection() {
    let response = response("{ node { z: a failing b: a } failing required { a } }").await;
    assert_eq!(
        serde_json::to_string(&response.data).expect("JSON"),
        r#"{"node":{"z":1,"failing":null,"b":1},"failing":null,"required":{"a":1}}"#
    );
}
