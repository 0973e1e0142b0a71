//! Introspection has the same limits as any other query, and the arguments of introspection fields follow the same
//! rules as other arguments.

use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{TestApp, post};

#[db_test]
async fn an_introspection_has_a_limited_number_of_fields(t: &TestApp) {
    let team = t.team(0).await;
    let leaves = "name ".repeat(180);
    let deep = format!("fields{{type{{fields{{type{{fields{{{leaves}}}}}}}}}}}");
    let by_name = |name: &str| -> String {
        (0..30).map(|at| format!("a{at}:__type(name:{name}){{...F}} ")).collect()
    };

    for query in [
        format!("{{{}}} fragment F on __Type{{{deep}}}", by_name("\"Mutation\"")),
        format!("query($n:String!){{{}}} fragment F on __Type{{{deep}}}", by_name("$n")),
        format!(
            "query($n:String!=\"Mutation\"){{{}}} fragment F on __Type{{{deep}}}",
            by_name("$n")
        ),
        format!("{{__schema{{types{{fields{{{leaves}}}}}}}}}"),
    ] {
        let variables = if query.contains("!=") { json!({}) } else { json!({ "n": "Mutation" }) };
        let refused = t.ask_with(&team.key, &query, variables).await;
        assert_eq!((refused.status.as_u16(), refused.codes()), (400, vec!["QUERY_TOO_LARGE"]));
        assert_eq!(
            refused.body["errors"][0]["message"],
            "The introspection has too many fields and fragments, each counted as often as it is executed \
             (maximum 40000)."
        );
    }
}

#[db_test]
async fn a_variable_without_a_value_is_an_omitted_argument(t: &TestApp) {
    let team = t.team(0).await;
    let query =
        "query($d:Boolean){__type(name:\"Balance\"){kind fields(includeDeprecated:$d){name}}}";
    let fields = ["balance", "currency", "isSubAccount", "totalSpent", "creditLimit"];
    let expected = json!({ "__type": { "kind": "OBJECT", "fields": fields.map(|name| json!({ "name": name })) } });

    for variables in [json!({}), json!({ "d": true }), json!({ "d": false })] {
        let answer = t.ask_with(&team.key, query, variables).await;
        assert_eq!(*answer.data(), expected);
    }
    // A failure of another field does not affect the introspection fields.
    let with_failure = "query($d:Boolean){account{apiKeys(first:1,last:1){totalCount}} \
                        __type(name:\"Balance\"){kind fields(includeDeprecated:$d){name}} none:__type(name:\"No\"){name}}";
    let answer = t.ask(&team.key, with_failure).await;
    assert_eq!(answer.codes(), ["BAD_USER_INPUT"]);
    assert_eq!(answer.body["data"]["__type"], expected["__type"]);
    assert_eq!(answer.body["data"]["none"], Value::Null);
}

#[db_test]
async fn a_variable_of_another_type_is_refused_in_an_introspection(t: &TestApp) {
    let team = t.team(0).await;
    let query = |of_type: &str| format!("query($n:{of_type}){{__type(name:$n){{name}}}}");

    for of_type in ["String", "ID!", "[String!]!"] {
        let body = json!({ "query": query(of_type), "variables": { "n": "Balance" } });
        let refused = t.request(post(&team.key, body.to_string())).await;
        assert_eq!(refused.codes(), ["GRAPHQL_VALIDATION_FAILED"]);
        assert_eq!(
            refused.body["errors"][0]["message"],
            format!(
                "Variable $n of type {of_type} cannot be used here, where String! is expected."
            )
        );
    }
    let of_deprecated =
        "query($d:String){__type(name:\"Balance\"){fields(includeDeprecated:$d){name}}}";
    let refused = t.ask(&team.key, of_deprecated).await;
    assert_eq!(refused.codes(), ["GRAPHQL_VALIDATION_FAILED"]);
    for of_type in ["String!", "String = \"Account\""] {
        let answer = t.ask_with(&team.key, &query(of_type), json!({ "n": "Balance" })).await;
        assert_eq!(*answer.data(), json!({ "__type": { "name": "Balance" } }));
    }
}

#[db_test]
async fn introspection_supports_all_fields_and_arguments_of_the_specification(t: &TestApp) {
    let team = t.team(0).await;
    let query = "{ __schema { description queryType { name } directives { name description isRepeatable \
        locations args(includeDeprecated: true) { name } } } __type(name: \"AccountRef\") { kind isOneOf \
        specifiedByURL inputFields(includeDeprecated: true) { name isDeprecated deprecationReason defaultValue } } }";
    let answer = t.ask(&team.key, query).await;
    assert_eq!(answer.data()["__type"]["isOneOf"], true, "{}", answer.body);
    assert_eq!(answer.data()["__type"]["inputFields"][0]["isDeprecated"], false);
    let wrong = "{ __type(name: \"AccountRef\") { isOneOf(a: 1) isOneOf { b } } }";
    let refused = t.ask(&team.key, wrong).await;
    assert_eq!(refused.codes()[0], "GRAPHQL_VALIDATION_FAILED");
}
