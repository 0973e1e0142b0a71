//! Which fields each role can see and call. The test cases are generated from the schema, so that the tests fail if a
//! field without a role guard is added.

use std::collections::{BTreeMap, BTreeSet};

use async_graphql::parser::types::{ServiceDocument, Type, TypeKind, TypeSystemDefinition};
use db_test::db_test;
use serde_json::{Value, json};

use crate::{
    audit_log::{
        calls::{Stage, calls},
        entry::MESSAGES,
    },
    harness::TestApp,
};

/// The introspection query that GraphiQL and code generators send.
const INTROSPECTION: &str = "query IntrospectionQuery { __schema { queryType { name } mutationType { name } \
    subscriptionType { name } types { ...FullType } directives { name description locations args { ...InputValue } } } } \
    fragment FullType on __Type { kind name description specifiedByURL \
    fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason } \
    inputFields { ...InputValue } interfaces { ...TypeRef } \
    enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } } \
    fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue } \
    fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name \
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

/// The names of fields, input fields and enum values, by type.
type Names = BTreeMap<String, Vec<String>>;

fn full_schema() -> (ServiceDocument, Names) {
    let sdl = tollgate::graphql::sdl();
    let document = async_graphql::parser::parse_schema(sdl).expect("our own schema language");
    let mut names = Names::new();
    for definition in &document.definitions {
        let TypeSystemDefinition::Type(found) = definition else { continue };
        let of_type = match &found.node.kind {
            TypeKind::Object(object) => {
                object.fields.iter().map(|field| field.node.name.node.to_string()).collect()
            }
            TypeKind::InputObject(input) => {
                input.fields.iter().map(|field| field.node.name.node.to_string()).collect()
            }
            TypeKind::Enum(values) => {
                values.values.iter().map(|value| value.node.value.node.to_string()).collect()
            }
            _ => vec![],
        };
        names.insert(found.node.name.node.to_string(), of_type);
    }
    (document, names)
}

async fn visible_to(t: &TestApp, key: &str) -> Names {
    let answer = t.ask(key, INTROSPECTION).await;
    let types = answer.data()["__schema"]["types"].as_array().expect("types").clone();
    let list = |found: &Value, part: &str| {
        let parts = found[part].as_array().cloned().unwrap_or_default();
        parts.iter().map(|part| part["name"].as_str().unwrap_or("").to_owned()).collect::<Vec<_>>()
    };
    types
        .iter()
        .map(|found| {
            let parts =
                [list(found, "fields"), list(found, "inputFields"), list(found, "enumValues")];
            (found["name"].as_str().unwrap_or("").to_owned(), parts.concat())
        })
        .collect()
}

/// Returns, for each object type that is reachable from a root type, an operation that selects an object of that type.
/// `HOLE` is the placeholder for the fields of the object.
fn ways(document: &ServiceDocument) -> BTreeMap<String, String> {
    let objects: BTreeMap<String, _> = document
        .definitions
        .iter()
        .filter_map(|definition| match definition {
            TypeSystemDefinition::Type(found) => match &found.node.kind {
                TypeKind::Object(object) => Some((found.node.name.node.to_string(), object)),
                _ => None,
            },
            _ => None,
        })
        .collect();
    let mut ways = BTreeMap::from([
        ("Query".to_owned(), "query { HOLE }".to_owned()),
        ("Mutation".to_owned(), "mutation { HOLE }".to_owned()),
        ("Subscription".to_owned(), "subscription { HOLE }".to_owned()),
    ]);
    for _ in 0..objects.len() {
        for (name, object) in &objects {
            let Some(way) = ways.get(name).cloned() else { continue };
            for field in &object.fields {
                let inner = named(&field.node.ty.node);
                if objects.contains_key(&inner) && !ways.contains_key(&inner) {
                    let step = format!("{} {{ HOLE }}", call(&field.node));
                    ways.insert(inner, way.replace("HOLE", &step));
                }
            }
        }
    }
    ways
}

fn named(of_type: &Type) -> String {
    of_type.to_string().replace(['[', ']', '!'], "")
}

/// Returns the field as text, with a value for each required argument.
fn call(field: &async_graphql::parser::types::FieldDefinition) -> String {
    let required = field.arguments.iter().filter(|argument| !argument.node.ty.node.nullable);
    let given: Vec<String> = required
        .map(|argument| {
            let value = match named(&argument.node.ty.node).as_str() {
                "ID" | "String" => "\"019a0000-0000-7000-8000-000000000000\"",
                "AccountRef" => "{ externalId: \"nobody\" }",
                _ => "{}",
            };
            format!("{}: {value}", argument.node.name.node)
        })
        .collect();
    let arguments =
        if given.is_empty() { String::new() } else { format!("({})", given.join(", ")) };
    format!("{}{arguments}", field.name.node)
}

/// The test calls each hidden field with valid arguments, with arguments that are not valid, and without arguments. No
/// call changes any data.
#[db_test]
async fn a_field_hidden_from_a_role_is_refused_when_called_anyway(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({ "externalId": "mine" })).await;
    let (document, full) = full_schema();
    let ways = ways(&document);
    let before = t.everything().await;

    for (key, at_least) in [(&sub.key, 25), (&team.key, 5), (&t.operator, 15)] {
        let visible = visible_to(t, key).await;
        let mut called = 0;
        for definition in &document.definitions {
            let TypeSystemDefinition::Type(found) = definition else { continue };
            let TypeKind::Object(object) = &found.node.kind else { continue };
            let type_name = found.node.name.node.to_string();
            let Some(way) = ways.get(&type_name) else { continue };
            for field in &object.fields {
                let name = field.node.name.node.to_string();
                if visible.get(&type_name).is_some_and(|fields| fields.contains(&name)) {
                    continue;
                }
                let is_object =
                    full.get(&named(&field.node.ty.node)).is_some_and(|f| !f.is_empty())
                        && ways.contains_key(&named(&field.node.ty.node));
                let selection = if is_object { " { __typename }" } else { "" };
                for call in [
                    format!("{}{selection}", call(&field.node)),
                    format!("{name}(wrong: 7, account: [1], input: \"no\"){selection}"),
                    format!("{name}{selection}"),
                    format!("alias: {name} @skip(if: true){selection}"),
                    format!("... on {type_name} {{ {name} }}"),
                ] {
                    let query = way.replace("HOLE", &call);
                    let answer = t.ask(key, &query).await;
                    assert_eq!(answer.codes(), ["FORBIDDEN"], "{query}: {}", answer.body);
                    assert_eq!(answer.status, 200);
                    assert_eq!(answer.body["data"], Value::Null);
                    called += 1;
                }
            }
        }
        assert!(called >= at_least * 5, "only {called} calls were tried");
    }
    assert_eq!(t.everything().await, before);
}

/// Types that are used only by hidden fields are hidden too.
#[db_test]
async fn introspection_shows_only_what_the_role_may_use(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;

    let (main, sub_sees, operator) = (
        visible_to(t, &team.key).await,
        visible_to(t, &sub.key).await,
        visible_to(t, &t.operator).await,
    );

    for hidden in [
        "AccountRef",
        "AccountConnection",
        "ApiKeyConnection",
        "CreateSubAccountInput",
        "MetadataFilter",
        "CreateSubAccountPayload",
        "CreateSubAccountErrorCode",
        "SubAccountFilter",
        "SubAccountOrder",
        "CreateApiKeyInput",
        "RotateApiKeyPayload",
        "TopUpTeamInput",
        "TransferPhoneNumberInput",
        "TransferPhoneNumberErrorCode",
        "CreateTeamPayload",
        "TeamConnection",
    ] {
        assert!(!sub_sees.contains_key(hidden), "{hidden} is shown to a sub-account");
        let answer = t.ask(&sub.key, &format!("{{ __type(name: \"{hidden}\") {{ name }} }}")).await;
        assert_eq!(answer.data()["__type"], Value::Null);
    }
    assert!(!sub_sees["UsageDimension"].contains(&"ACCOUNT".to_owned()));
    assert!(!sub_sees["LedgerFilter"].contains(&"account".to_owned()));
    let stage = Stage::of_words();
    let of_key = |key| calls(&stage).into_iter().filter(move |call| call.key == key);
    let mutations_of = |key| of_key(key).map(|call| call.mutation.to_owned());
    let of_sub: BTreeSet<String> = mutations_of("SUB").chain(MESSAGES.map(str::to_owned)).collect();
    let of_main: BTreeSet<String> = mutations_of("MAIN").chain(of_sub.clone()).collect();
    let of_operator: BTreeSet<String> = mutations_of("").collect();
    for (sees, mutations) in [(&sub_sees, of_sub), (&main, of_main), (&operator, of_operator)] {
        assert_eq!(sees["Mutation"].iter().cloned().collect::<BTreeSet<_>>(), mutations);
    }

    assert!(main["UsageDimension"].contains(&"ACCOUNT".to_owned()));
    assert!(!main.contains_key("TopUpTeamInput") && !main.contains_key("TeamConnection"));
    t.close().await;
}

/// Hidden enum values and input fields are refused in literals, variables and default values.
#[db_test]
async fn hidden_enum_values_and_input_fields_are_refused(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;

    for (query, variables) in [
        ("{ account { usage(groupBy: [DAY, ACCOUNT]) { totals { spent } } } }", json!({})),
        (
            "query($by: [UsageDimension!]) { account { usage(groupBy: $by) { totals { spent } } } }",
            json!({ "by": ["ACCOUNT"] }),
        ),
        (
            "query($by: [UsageDimension!] = [ACCOUNT]) { account { usage(groupBy: $by) { totals { spent } } } }",
            json!({}),
        ),
        (
            "query($by: UsageDimension!) { account { usage(groupBy: [$by]) { totals { spent } } } }",
            json!({ "by": "ACCOUNT" }),
        ),
        ("{ ledger(filter: { account: { externalId: \"x\" } }) { totalCount } }", json!({})),
        (
            "query($f: LedgerFilter) { ledger(filter: $f) { totalCount } }",
            json!({ "f": { "account": { "externalId": "x" } } }),
        ),
        (
            "query($f: LedgerFilter = { account: { id: \"x\" } }) { ledger(filter: $f) { totalCount } }",
            json!({}),
        ),
        ("query($a: AccountRef) { account { id } }", json!({})),
        ("query($a: CreateTeamInput) { account { id } }", json!({})),
        ("{ account { id } } fragment F on CreateTeamPayload { plainKey }", json!({})),
        ("{ account { ...F } } fragment F on Account { metadata }", json!({})),
    ] {
        let answer = t.ask_with(&sub.key, query, variables).await;
        assert_eq!(answer.codes(), ["FORBIDDEN"], "{query}");
        let own = t
            .ask(&team.key, "{ account { usage(groupBy: [DAY, ACCOUNT]) { totals { spent } } } }")
            .await;
        assert_eq!(own.data()["account"]["usage"]["totals"]["spent"], 0);
    }
}

#[db_test]
async fn error_messages_suggest_no_field_names(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    for (query, hidden) in [
        ("mutation { createSubAccounts { errors { code } } }", "createSubAccount\""),
        ("mutation { createSubAccoun(input: {}) { errors { code } } }", "createSubAccount\""),
        ("{ subAccount5 { id } }", "subAccounts"),
        ("{ account { metadat } }", "metadata"),
        ("{ account { usage(groupBy: [ACCOUNTS]) { from } } }", "ACCOUNT\""),
        ("{ ledger(filter: { accounts: 1 }) { totalCount } }", "account\""),
    ] {
        let answer = t.ask(&sub.key, query).await;
        assert_eq!(answer.codes()[0], "GRAPHQL_VALIDATION_FAILED", "{query}");
        assert_eq!(answer.status, 400);
        let text = answer.body.to_string().replace("\\\"", "\"");
        assert!(!text.contains(hidden) && !text.contains("Did you mean"), "{text}");
    }
}

#[db_test]
async fn a_test_key_of_a_main_account_reads_settings_and_changes_none(t: &TestApp) {
    let team = t.team(0).await;
    t.sub_account(&team, json!({ "externalId": "abc" })).await;
    let key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let before = t.everything().await;

    let read =
        t.ask(&key, "{ viewer { environment role } subAccounts { nodes { externalId } } }").await;
    let refused = t.create_sub_account(&key, json!({ "name": "No" })).await;

    assert_eq!(
        *read.data(),
        json!({ "viewer": { "environment": "TEST", "role": "MAIN_ACCOUNT" },
                "subAccounts": { "nodes": [{ "externalId": "abc" }] } })
    );
    assert_eq!(refused.codes(), ["FORBIDDEN"]);
    assert_eq!(refused.body["data"], json!({ "createSubAccount": null }));
    assert!(refused.body["errors"][0]["message"].to_string().contains("needs a LIVE key"));
    assert_eq!(t.everything().await, before);
}

/// The test covers every role.
#[db_test]
async fn the_introspection_of_code_generators_is_within_the_limits(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    for key in [&sub.key, &team.key, &t.operator] {
        let answer = t.ask(key, INTROSPECTION).await;
        assert_eq!(answer.data()["__schema"]["queryType"]["name"], "Query");
    }
}
