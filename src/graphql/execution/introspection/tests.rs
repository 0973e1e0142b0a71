use async_graphql::{Request, parser::parse_query};
use serde_json::{Value as Json, json};

use super::*;
use crate::graphql::{access::Audience, execution::schema_index::INTROSPECTION, schema::schema};

/// The query of graphql-js's `getIntrospectionQuery` with all options.
const STANDARD: &str = "query IntrospectionQuery { __schema { description queryType { name kind } \
    mutationType { name kind } subscriptionType { name kind } types { ...FullType } \
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } } } } \
    fragment FullType on __Type { kind name description specifiedByURL isOneOf \
    fields(includeDeprecated: true) { name description args(includeDeprecated: true) { ...InputValue } \
    type { ...TypeRef } isDeprecated deprecationReason } \
    inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef } \
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } \
    possibleTypes { ...TypeRef } } \
    fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason } \
    fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name \
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

async fn data(query: &str) -> Json {
    let response = schema().finish().execute(Request::new(query).data(Audience::Everything)).await;
    assert_eq!(response.errors, [], "{query}");
    response.data.into_json().expect("an introspection is plain JSON")
}

async fn index() -> SchemaIndex {
    SchemaIndex::read(data(INTROSPECTION).await).expect("the introspection has these fields")
}

/// Returns the count for the root fields of the only operation, or `None` if the count exceeds the
/// maximum.
fn count(document: &str, variables: Json, index: &SchemaIndex) -> Option<u64> {
    let document = parse_query(document).expect("a document");
    let variables = Variables::from_json(variables);
    let mut counter = Counter::new(&document, &variables, index);
    let (_, operation) = document.operations.iter().next().expect("an operation");
    let counts = operation.node.selection_set.node.items.iter().map(|selection| {
        let Selection::Field(field) = &selection.node else { panic!("a field was expected") };
        counter.count(&field.node).ok()
    });
    counts.sum()
}

/// Returns the number of fields in a response.
fn fields(data: &Json) -> u64 {
    match data {
        Json::Object(members) => members.values().map(|value| 1 + fields(value)).sum(),
        Json::Array(values) => values.iter().map(fields).sum(),
        _ => 0,
    }
}

#[tokio::test]
async fn the_count_of_an_introspection_equals_the_fields_of_its_response() {
    let index = index().await;
    for query in [
        "{ __schema { description queryType { name } subscriptionType { fields { name } } } }",
        "{ __schema { types { kind name enumValues(includeDeprecated: true) { name } } } }",
        "{ __schema { directives { name locations args { name type { kind ofType { name } } } } } }",
        "{ __type(name: \"Mutation\") { fields { name args { name type { kind ofType { name } } } } } }",
        "{ __type(name: \"Message\") { fields { type { ofType { fields { type { name fields { name } } } } } } } }",
        "{ __type(name: \"SendMessageInput\") { inputFields { name type { kind enumValues { name } } } } }",
        "{ a: __type(name: \"Nothing\") { name } b: __type(name: \"ID\") { name } }",
    ] {
        let counted = count(query, json!({}), &index).expect("within the limit");
        let executed = fields(&data(query).await);
        // Each directive is counted with one argument, although `@oneOf` has none.
        assert!((executed..=executed + 6).contains(&counted), "{query}: {counted}, {executed}");
    }
    let by_variable = "query($name: String!) { __type(name: $name) { fields { name } } }";
    let by_name = "{ __type(name: \"Mutation\") { fields { name } } }";
    assert_eq!(
        count(by_variable, json!({ "name": "Mutation" }), &index),
        count(by_name, json!({}), &index)
    );
    assert_eq!(count(by_variable, json!({ "name": 1 }), &index), Some(1));
}

#[tokio::test]
async fn the_largest_client_introspection_is_within_the_limit() {
    let index = index().await;
    let standard = count(STANDARD, json!({}), &index).expect("within the limit");
    assert!((INTROSPECTION_MAX / 3..INTROSPECTION_MAX / 2).contains(&standard), "{standard}");

    let leaves = "name ".repeat(180);
    let types: String =
        (0..30).map(|at| format!("a{at}: __type(name: \"Mutation\") {{ ...F }} ")).collect();
    for query in [
        format!(
            "{{ {types} }} fragment F on __Type {{ fields {{ type {{ fields {{ type {{ fields {{ {leaves} }} }} }} }} }} }}"
        ),
        format!("{{ __schema {{ types {{ fields {{ {leaves} }} }} }} }}"),
        format!(
            "{{ __schema {{ types {{ fields {{ {} }} }} }} }}",
            "... on __Field { name } ".repeat(120)
        ),
    ] {
        assert_eq!(count(&query, json!({}), &index), None, "{query}");
    }
}

#[tokio::test]
async fn the_schema_matches_the_assumptions_of_the_count() {
    let data =
        data("{ __schema { types { kind } directives { args { type { ofType { name ofType { name } } } } } } }").await;
    let schema = &data["__schema"];
    let kinds = schema["types"].as_array().expect("a list");
    assert!(
        kinds.iter().all(|of_type| of_type["kind"] != "INTERFACE" && of_type["kind"] != "UNION")
    );
    let directives = schema["directives"].as_array().expect("a list");
    assert_eq!(directives.len(), DIRECTIVES);
    for directive in directives {
        let args = directive["args"].as_array().expect("a list");
        assert!(args.len() <= 1);
        assert!(args.iter().all(|arg| arg["type"]["ofType"]["ofType"].is_null()));
    }
}
