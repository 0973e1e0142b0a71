//! Responses follow the rules for errors in section 6.4.4 of the GraphQL specification: a field that failed is null.

use db_test::db_test;
use serde_json::json;

use crate::harness::TestApp;

#[db_test]
async fn a_failed_mutation_is_null_and_its_siblings_keep_their_results(t: &TestApp) {
    let team = t.team(1000).await;
    let key = t.api_key(&team, &team.main_account_id, "TEST").await;

    let answer = t
        .ask(
            &key,
            "mutation { a: sendMessage(input: { to: \"+12025550123\", text: \"Hi\" }) { replayed } \
             b: createSubAccount(input: { name: \"No\" }) { plainKey } \
             c: sendMessage(input: { to: \"+12025550123\", text: \"Ho\" }) { replayed } }",
        )
        .await;

    assert_eq!(
        answer.body["data"],
        json!({ "a": { "replayed": false }, "b": null, "c": { "replayed": false } })
    );
    assert_eq!(answer.codes(), ["FORBIDDEN"]);
    assert_eq!(answer.body["errors"][0]["path"], json!(["b"]));
    assert_eq!(answer.status, 200);
}

/// The rule also applies to fields in lists. If one alias of a field fails, another alias of the same field may
/// succeed.
#[db_test]
async fn a_failed_non_null_field_nulls_its_nearest_nullable_parent(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let backwards =
        "usage(range: { from: \"2026-02-02\", to: \"2026-02-01\" }) { totals { spent } }";

    for (key, query, data) in [
        // `usage` is non-null. `account` and `team` are nullable.
        (
            &sub.key,
            format!("{{ a: account {{ name {backwards} }} b: account {{ name }} }}"),
            json!({ "a": null, "b": { "name": "Client" } }),
        ),
        (
            &team.key,
            format!("{{ team {{ name {backwards} }} balance {{ currency }} }}"),
            json!({ "team": null, "balance": { "currency": "USD" } }),
        ),
        // Every parent up to the root is non-null, so the data of the response is null.
        (&team.key, format!("{{ subAccounts {{ nodes {{ name {backwards} }} }} }}"), json!(null)),
        // The nearest nullable parent of the connection is the team.
        (
            &team.key,
            format!(
                "{{ team {{ name subAccounts {{ nodes {{ {backwards} }} }} }} account {{ name }} }}"
            ),
            json!({ "team": null, "account": { "name": "Acme" } }),
        ),
        (
            &sub.key,
            "{ account { name } messages(first: 101) { totalCount } }".to_owned(),
            json!(null),
        ),
    ] {
        let answer = t.ask(key, &query).await;
        assert_eq!(answer.codes(), ["BAD_USER_INPUT"], "{query}");
        assert_eq!(answer.body["data"], data, "{query}");
        assert!(answer.body.as_object().expect("an object").contains_key("data"));
        assert_eq!(answer.status, 200);
    }
}

#[db_test]
async fn response_keys_follow_the_order_of_the_selection(t: &TestApp) {
    let team = t.team(1000).await;
    let request = json!({ "query": "{ z: balance { isSubAccount currency balance } account { status id: name } a: team { name } }" });

    let response = t.raw(&team.key, request.to_string()).await;

    assert_eq!(
        response,
        "{\"data\":{\"z\":{\"isSubAccount\":false,\"currency\":\"USD\",\"balance\":1000},\
         \"account\":{\"status\":\"ACTIVE\",\"id\":\"Acme\"},\"a\":{\"name\":\"Acme\"}}}"
    );
}

/// If a variable is omitted, `@skip` and `@include` use the default of the variable.
#[db_test]
async fn a_mutation_that_is_skipped_by_a_directive_is_not_executed(t: &TestApp) {
    let team = t.team(1000).await;
    let before = t.everything().await;
    let send = "sendMessage(input: { to: \"+12025550123\", text: \"Hi\" })";

    for query in [
        format!(
            "mutation($s: Boolean = true) {{ {send} @skip(if: $s) {{ replayed }} sendMessages(input: []) {{ replayed }} }}"
        ),
        format!(
            "mutation($s: Boolean! = false) {{ {send} @include(if: $s) {{ replayed }} sendMessages(input: []) {{ replayed }} }}"
        ),
    ] {
        let skipped = t.ask(&team.key, &query).await;
        assert_eq!(*skipped.data(), json!({ "sendMessages": [] }));
    }
    assert_eq!(t.everything().await, before);

    let shown = t
        .ask(
            &team.key,
            "query($s: Boolean = true) { account { id @skip(if: $s) name @include(if: $s) } }",
        )
        .await;
    assert_eq!(*shown.data(), json!({ "account": { "name": "Acme" } }));
}

/// Fields with the same response key are merged (GraphQL specification, section 6.3.2).
#[db_test]
async fn a_mutation_selected_twice_under_one_response_key_is_executed_once(t: &TestApp) {
    let team = t.team(1000).await;
    let send = "sendMessage(input: { to: \"+12025550123\", text: \"Hi\" })";
    let replayed = json!({ "replayed": false });

    for (count, query, key) in [
        (1, format!("mutation {{ {send} {{ replayed }} {send} {{ replayed }} }}"), "sendMessage"),
        (
            2,
            format!(
                "mutation {{ {send} {{ replayed }} ... on Mutation {{ {send} {{ replayed }} }} }}"
            ),
            "sendMessage",
        ),
        (
            3,
            format!(
                "mutation {{ ...F ...F }} fragment F on Mutation {{ a: {send} {{ replayed }} }}"
            ),
            "a",
        ),
    ] {
        let answer = t.ask(&team.key, &query).await;
        assert_eq!(*answer.data(), json!({ key: replayed }), "{query}");
        assert_eq!(t.number("SELECT COUNT(*) FROM message").await, count, "{query}");
    }
    let before = t.everything().await;
    let other = send.replace("Hi", "Ho");
    let differ = format!("mutation {{ a: {send} {{ replayed }} a: {other} {{ replayed }} }}");
    let refused = t.ask(&team.key, &differ).await;
    assert_eq!(refused.codes(), ["GRAPHQL_VALIDATION_FAILED"]);
    assert_eq!(refused.status, 400);
    assert_eq!(t.everything().await, before);

    let twice = format!("mutation {{ {send} {{ replayed }} again: {send} {{ replayed }} }}");
    let twice = t.ask(&team.key, &twice).await;
    assert_eq!(*twice.data(), json!({ "sendMessage": replayed, "again": replayed }));
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 5);
}

/// The other fields succeed, although the failed field is loaded in the same batch.
#[db_test]
async fn an_argument_that_is_not_valid_fails_only_its_own_field(t: &TestApp) {
    let team = t.team(1000).await;
    t.sub_account(&team, json!({ "externalId": "a" })).await;
    let sub = "subAccount(by: { externalId: \"a\" })";

    let usage = t
        .ask(
            &team.key,
            "{ x: account { usage(range: { from: \"2026-02-02\", to: \"2026-02-01\" }) { from } } \
             y: account { usage { from } } }",
        )
        .await;
    let keys = t
        .ask(
            &team.key,
            &format!("{{ x: {sub} {{ apiKeys(first: -1) {{ totalCount }} }} y: {sub} {{ apiKeys(first: 1) {{ totalCount }} }} }}"),
        )
        .await;

    assert_eq!(
        usage.body["data"],
        json!({ "x": null, "y": { "usage": { "from": "2026-03-01" } } })
    );
    assert_eq!(keys.body["data"], json!({ "x": null, "y": { "apiKeys": { "totalCount": 1 } } }));
    for answer in [usage, keys] {
        assert_eq!(answer.codes(), ["BAD_USER_INPUT"]);
    }
}
