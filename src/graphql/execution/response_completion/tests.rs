//! Answers of a small schema whose fields fail, next to what the specification says of them.

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
    async fn sure(&self) -> Node {
        Node
    }
    async fn nodes(&self) -> Option<Vec<Node>> {
        Some(vec![Node, Node])
    }
    async fn none(&self) -> Option<Node> {
        None
    }
    async fn maybe(&self) -> Result<Option<i32>> {
        Err("no".into())
    }
}

#[Object]
impl Node {
    async fn a(&self) -> i32 {
        1
    }
    async fn maybe(&self) -> Result<Option<i32>> {
        Err("no".into())
    }
    async fn must(&self) -> Result<i32> {
        Err("no".into())
    }
    async fn node(&self) -> Option<Node> {
        Some(Node)
    }
    async fn sure(&self) -> Node {
        Node
    }
    async fn scalars(&self) -> Option<Vec<Result<i32>>> {
        Some(vec![Ok(1), Err("no".into())])
    }
}

/// The answer to a query, executed as it was collected.
async fn response(query: &str) -> Response {
    let schema = Schema::build(Query, EmptyMutation, EmptySubscription);
    let schema = schema.validation_mode(ValidationMode::Fast).finish();
    let shape = schema.execute(INTROSPECTION).await.data.into_json().expect("plain JSON");
    let shape = SchemaIndex::read(shape).expect("an introspection");
    let variables = Variables::from_json(serde_json::json!({ "yes": true, "no": false }));
    let document = async_graphql::parser::parse_query(query).expect("a document");
    let (_, operation) = document.operations.iter().next().expect("an operation");
    let operation = collect(&document, &operation.node, &variables, &shape)
        .expect("its conditions are decided");
    let mut request = Request::new("").variables(variables);
    let executed = Positioned::new(operation.clone(), Pos::default());
    request.set_parsed_query(ExecutableDocument {
        operations: DocumentOperations::Single(executed),
        fragments: HashMap::new(),
    });
    let mut response = schema.execute(request).await;
    complete_response(&mut response, &operation, &shape);
    response
}

async fn answer(query: &str) -> String {
    response(query).await.data.into_json().expect("plain JSON").to_string()
}

#[tokio::test]
async fn a_failed_field_is_null_or_nulls_its_nearest_nullable_parent() {
    for (query, expected) in [
        ("{ node { a maybe } }", r#"{"node":{"a":1,"maybe":null}}"#),
        ("{ node { maybe a } }", r#"{"node":{"maybe":null,"a":1}}"#),
        ("{ node { a must } }", r#"{"node":null}"#),
        ("{ node { must } }", r#"{"node":null}"#),
        ("{ node { maybe } }", r#"{"node":{"maybe":null}}"#),
        ("{ node { a sure { must } } }", r#"{"node":null}"#),
        ("{ node { a node { must a } } }", r#"{"node":{"a":1,"node":null}}"#),
        ("{ sure { must } }", "null"),
        ("{ maybe }", r#"{"maybe":null}"#),
        ("{ x: maybe y: node { b: a c: maybe } }", r#"{"x":null,"y":{"b":1,"c":null}}"#),
        ("{ nodes { a maybe } }", r#"{"nodes":[{"a":1,"maybe":null},{"a":1,"maybe":null}]}"#),
        ("{ nodes { maybe } }", r#"{"nodes":[{"maybe":null},{"maybe":null}]}"#),
        ("{ nodes { a must } }", r#"{"nodes":null}"#),
        ("{ node { scalars } }", r#"{"node":{"scalars":null}}"#),
        ("{ none { a } node { maybe } }", r#"{"none":null,"node":{"maybe":null}}"#),
        ("{ node { ...F } } fragment F on Node { maybe a }", r#"{"node":{"maybe":null,"a":1}}"#),
        ("{ node { a ... on Node { maybe } a } }", r#"{"node":{"a":1,"maybe":null}}"#),
        ("query($yes: Boolean!) { node { a maybe @skip(if: $yes) } }", r#"{"node":{"a":1}}"#),
        (
            "query($no: Boolean = false) { node { a maybe @include(if: $no) } }",
            r#"{"node":{"a":1}}"#,
        ),
        ("{ node { a @skip(if: true) } }", r#"{"node":{}}"#),
        ("{ node { ...F } } fragment F on Node { a @include(if: false) }", r#"{"node":{}}"#),
        ("{ sure { ... @skip(if: true) { a } } }", r#"{"sure":{}}"#),
        ("{ none { a @skip(if: true) } }", r#"{"none":null}"#),
        ("{ node { maybe @skip(if: true) } maybe }", r#"{"node":{},"maybe":null}"#),
        ("{ nodes { __typename @skip(if: true) a @skip(if: true) } }", r#"{"nodes":[{},{}]}"#),
        ("{ sure @skip(if: true) { a } }", "{}"),
        (
            "{ node { __typename maybe } __typename }",
            r#"{"node":{"__typename":"Node","maybe":null},"__typename":"Query"}"#,
        ),
    ] {
        // serde_json sorts keys, so order is compared by the test that follows.
        let sorted: serde_json::Value = expected.parse().expect("JSON");
        assert_eq!(answer(query).await, sorted.to_string(), "{query}");
    }
}

#[tokio::test]
async fn keys_stand_in_the_order_of_their_selection() {
    let response = response("{ node { z: a maybe b: a } maybe sure { a } }").await;
    assert_eq!(
        serde_json::to_string(&response.data).expect("JSON"),
        r#"{"node":{"z":1,"maybe":null,"b":1},"maybe":null,"sure":{"a":1}}"#
    );
}
