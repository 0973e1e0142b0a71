//! Calls to mutations that a key may not use also leave audit log entries. The number of these entries is bounded.

use db_test::db_test;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tollgate::{domain::audit_log::refusals::write_counts, http};

use super::{
    calls::{calls, staged},
    count, newest,
};
use crate::harness::{Apps, Setup, Socket, TestApp};

/// A key has no permission if its role may not call the mutation, or if the key is a TEST key.
#[db_test]
async fn a_call_without_permission_leaves_an_entry_and_changes_nothing(t: &TestApp) {
    let stage = staged(t).await;
    let sub_test = t.api_key(&stage.team, &stage.sub.id, "TEST").await;
    let main_test = t.api_key(&stage.team, &stage.team.main_account_id, "TEST").await;
    let before = t.everything().await;

    for call in calls(&stage) {
        let of_main = Some(json!({ "id": stage.team.main_account_id }));
        let of_sub = Some(json!({ "id": stage.sub.id }));
        for (key, actor, account) in [
            (&sub_test, "SUB_ACCOUNT", of_sub.clone()),
            (&main_test, "MAIN_ACCOUNT", of_main),
            (&stage.sub.key, "SUB_ACCOUNT", of_sub),
            (&stage.team.key, "MAIN_ACCOUNT", None),
            (&t.operator, "OPERATOR", None),
        ] {
            let may_main = call.key == stage.sub.key && *key == stage.team.key;
            if key == call.key(t) || may_main {
                continue;
            }
            let entries = count(t).await;
            let answer = call.ask(t, key, &call.accepted, "who").await;
            assert_eq!(answer.codes(), ["FORBIDDEN"], "{} by {actor}", call.mutation);
            assert_eq!(count(t).await, entries + 1, "{} by {actor}", call.mutation);
            let entry = newest(t, &t.operator, 1).await.remove(0);
            let shown = ["action", "outcome", "code", "actor", "requestId", "before", "after"];
            let shown = json!(shown.map(|name| entry[name].clone()));
            let expected = json!([call.action(), "REFUSED", "FORBIDDEN", actor, "who", null, null]);
            assert_eq!(shown, expected);
            if actor == "SUB_ACCOUNT" || (*key == main_test && call.key == stage.sub.key) {
                let expected = if call.mutation == "setQuietHours" && *key == main_test {
                    json!(null)
                } else {
                    json!(account)
                };
                assert_eq!(entry["account"], expected, "{} by {actor}", call.mutation);
            }
        }
    }

    assert_eq!(t.everything().await, before);
}

/// Forbidden calls use as much of the rate limit as allowed calls, over HTTP and over sockets. A document that calls no
/// forbidden mutation leaves no entry.
#[db_test]
async fn forbidden_calls_in_one_document_are_entered_or_counted(apps: &Apps) {
    let http = http::Settings { key_rate: 1, account_rate: 0, ..http::Settings::default() };
    let setup = Setup { http, ..Setup::default() };
    let t = apps.start_with(setup).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let entries = count(&t).await;

    let several = "mutation { a: createTeam(input: {}) { __typename } ...F \
                   ... on Mutation { setQuietHours { errors { code } } } } \
                   fragment F on Mutation { revokeApiKey(wrong: 1) { apiKey { id } } \
                   b: createTeam @skip(if: true) { __typename } }";
    assert_eq!(t.ask(&sub.key, several).await.codes(), ["FORBIDDEN"]);
    let counted = async || -> Vec<Value> {
        write_counts(&t.app).await.expect("the counts are written");
        let names = ["action", "code", "count"];
        let entries = newest(&t, &t.operator, 2).await;
        let of_sub = json!({ "id": sub.id });
        assert!(entries.iter().all(|entry| entry["account"] == of_sub));
        entries.iter().map(|entry| json!(names.map(|name| entry[name].clone()))).collect()
    };
    let expected = |count: usize| {
        [json!(["REVOKE_API_KEY", "FORBIDDEN", 1]), json!(["CREATE_TEAM", "FORBIDDEN", count])]
    };
    assert_eq!(counted().await, expected(2));
    assert_eq!(count(&t).await, entries + 2);

    for (query, code) in [
        ("mutation { createTeam", "GRAPHQL_PARSE_FAILED"),
        ("mutation { createTeams { __typename } }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "mutation { setQuietHours(input: { from: 1 }) { errors { code } } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("{ subAccounts { totalCount } }", "FORBIDDEN"),
        ("query($in: CreateTeamInput) { account { id } }", "FORBIDDEN"),
        ("mutation { setQuietHours { account { externalId } } }", "FORBIDDEN"),
    ] {
        assert_eq!(t.ask(&sub.key, query).await.codes()[0], code, "{query}");
    }
    assert_eq!(counted().await, expected(2));

    let served = t.serve().await;
    let mut socket = Socket::with_key(served.address, &sub.key).await;
    let query = "mutation { createTeam(input: { name: \"No\" }) { __typename } }";
    let payload = json!({ "query": query });
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
    socket.next().await;
    assert_eq!(counted().await, expected(3));

    // The rate limit allows only a few of these documents, because each of them has a high cost.
    let costly = "mutation { createTeam(input: { name: \"No\" }) { mainAccount { apiKeys(first: 100) \
                { nodes { id name prefix lastFour createdAt expiresAt revokedAt lastUsedAt } } } } }";
    let mut tried = 0;
    while t.ask(&sub.key, costly).await.codes() == ["FORBIDDEN"] {
        tried += 1;
        assert!(tried < 20, "the number of entries has no bound");
    }
    assert_eq!(t.ask(&sub.key, costly).await.codes(), ["RATE_LIMITED"]);
    assert_eq!(counted().await, expected(3 + tried));
    assert_eq!(count(&t).await, entries + 2);
}

#[db_test]
async fn a_mutation_with_a_just_revoked_key_leaves_an_entry(t: &TestApp) {
    let team = t.team(0).await;
    let second = t.api_key(&team, &team.main_account_id, "LIVE").await;
    assert_eq!(t.ask(&second, "{ viewer { role } }").await.status, 200);
    let tail = &second[second.len() - 4..];
    let revoke = format!("UPDATE api_key SET revoked_at = created_at WHERE last_four = '{tail}'");
    t.app.db.write.execute_unprepared(&revoke).await.expect("the statement runs");

    let refused = t.create_sub_account(&second, json!({ "name": "No" })).await;

    assert_eq!(refused.codes(), ["UNAUTHENTICATED"]);
    let entry = newest(t, &team.key, 1).await.remove(0);
    assert_eq!(
        (&entry["action"], &entry["outcome"], &entry["code"]),
        (&json!("CREATE_SUB_ACCOUNT"), &json!("REFUSED"), &json!("UNAUTHENTICATED"))
    );
}
