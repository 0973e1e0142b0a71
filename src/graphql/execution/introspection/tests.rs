use async_graphql::{Request, parser::parse_query};
use serde_json::{Value as Json, json};

use super::*;
use crate::graphql::{access::Audience, execution::schema_index::INTROSPECTION, schema::schema};

/// `getIntrospectionQuery` of graphql-js with all its options.
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

async fn answer(query: &str) -> Json {
    let answer = schema().finish().execute(Request::new(query).data(Audience::Everything)).await;
    assert_eq!(answer.errors, [], "{query}");
    answer.data.into_json().expect("introspection is plain JSON")
}

async fn shape() -> SchemaIndex {
    SchemaIndex::read(answer(INTROSPECTION).await).expect("introspection answers what was asked")
}

/// What a document's first introspections have, all of them fields of its one operation.
fn count(document: &str, variables: Json, shape: &SchemaIndex) -> Option<u64> {
    let document = parse_query(document).expect("a document");
    let variables = Variables::from_json(variables);
    let mut counter = Counter::new(&document, &variables, shape);
    let (_, operation) = document.operations.iter().next().expect("an operation");
    let counts = operation.node.selection_set.node.items.iter().map(|selection| {
        let Selection::Field(field) = &selection.node else { panic!("a field was expected") };
        counter.count(&field.node).ok()
    });
    counts.sum()
}

/// Fields of an answer.
fn fields(answer: &Json) -> u64 {
    match answer {
        Json::Object(members) => members.values().map(|value| 1 + fields(value)).sum(),
        Json::Array(values) => values.iter().map(fields).sum(),
        _ => 0,
    }
}

#[tokio::test]
async fn an_introspection_is_counted_as_it_is_executed() {
    let shape = shape().await;
    for query in [
        "{ __schema { description queryType { name } subscriptionType { fields { name } } } }",
        "{ __schema { types { kind name enumValues(includeDeprecated: true) { name } } } }",
        "{ __schema { directives { name locations args { name type { kind ofType { name } } } } } }",
        "{ __type(name: \"Mutation\") { fields { name args { name type { kind ofType { name } } } } } }",
        "{ __type(name: \"Message\") { fields { type { ofType { fields { type { name fields { name } } } } } } } }",
        "{ __type(name: \"SendMessageInput\") { inputFields { name type { kind enumValues { name } } } } }",
        "{ a: __type(name: \"Nothing\") { name } b: __type(name: \"ID\") { name } }",
    ] {
        let counted = count(query, json!({}), &shape).expect("not too much");
        let given = fields(&answer(query).await);
        // `oneOf` has no argument, and each directive is counted with one.
        assert!((given..=given + 6).contains(&counted), "{query}: {counted}, {given}");
    }
    let by_variable = "query($name: String!) { __type(name: $name) { fields { name } } }";
    let by_name = "{ __type(name: \"Mutation\") { fields { name } } }";
    assert_eq!(
        count(by_variable, json!({ "name": "Mutation" }), &shape),
        count(by_name, json!({}), &shape)
    );
    assert_eq!(count(by_variable, json!({ "name": 1 }), &shape), Some(1));
}

#[tokio::test]
async fn what_clients_ask_passes_and_little_more() {
    let shape = shape().await;
    let standard = count(STANDARD, json!({}), &shape).expect("not too much");
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
        assert_eq!(count(&query, json!({}), &shape), None, "{query}");
    }
}

#[tokio::test]
async fn the_schema_has_what_is_taken_for_granted() {
    let answer =
        answer("{ __schema { types { kind } directives { args { type { ofType { name ofType { name } } } } } } }").await;
    let schema = &answer["__schema"];
    let kinds = schema["types"].as_array().expect("a list");
    assert!(kinds.iter().all(|known| known["kind"] != "INTERFACE" && known["kind"] != "UNION"));
    let directives = schema["directives"].as_array().expect("a list");
    assert_eq!(directives.len(), DIRECTIVES);
    for directive in directives {
        let args = directive["args"].as_array().expect("a list");
        assert!(args.len() <= 1);
        assert!(args.iter().all(|arg| arg["type"]["ofType"]["ofType"].is_null()));
    }
}
