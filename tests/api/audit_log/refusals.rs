//! Repeated refusals are entered in the audit log as one entry with a count.

use chrono::TimeDelta;
use db_test::db_test;
use futures_util::future::join_all;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tollgate::domain::audit_log::refusals::write_counts;

use super::count;
use crate::harness::{Setup, TestApp};

const CREATE_TEAM: &str = "mutation { createTeam(input: { name: \"No\" }) { plainKey } }";
const QUIET: &str = "mutation { setQuietHours(input: { from: \"x\", to: \"08:00\", timeZone: \"UTC\" }) \
                     { errors { code } } }";

/// Returns the action, code and count of each refusal that the main account sees, newest first.
async fn refusals(t: &TestApp, key: &str) -> Vec<Value> {
    let query = "{ auditLog(filter: { outcome: [REFUSED] }) { nodes { action code count } } }";
    let found = t.ask(key, query).await;
    let nodes = found.data()["auditLog"]["nodes"].as_array().expect("nodes").clone();
    nodes.iter().map(|node| json!([node["action"], node["code"], node["count"]])).collect()
}

/// The entry is visible after the first refusal. Further refusals run no SQL statements. Each combination of key,
/// action and code has its own entry.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_refusals_make_one_entry_a_minute_with_a_count(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let (before, entries) = (t.everything().await, count(t).await);

    let ten = format!(
        "mutation {{ {} }}",
        (0..10)
            .map(|at| format!("a{at}: createTeam(input: {{ name: \"No\" }}) {{ plainKey }} "))
            .collect::<String>()
    );
    let together = (0..20).map(|_| t.ask(&test_key, &ten));
    for answer in join_all(together).await {
        assert_eq!(answer.codes(), ["FORBIDDEN"]);
    }
    // The first refusal is written immediately.
    assert_eq!(count(t).await, entries + 1);
    let statements = t.statements();
    for _ in 0..50 {
        assert_eq!(t.ask(&test_key, &ten).await.codes(), ["FORBIDDEN"]);
    }
    // Some statements are allowed, because the server reads the key from the database again every second.
    assert!(t.statements() - statements <= 50, "500 repeats cost no statement each");
    write_counts(&t.app).await.expect("the counts are written");
    assert_eq!(count(t).await, entries + 1);
    assert_eq!(refusals(t, &team.key).await, [json!(["CREATE_TEAM", "FORBIDDEN", 700])]);

    for (key, query, code) in [
        (&sub.key, CREATE_TEAM, "FORBIDDEN"),
        (&test_key, "mutation { revokeApiKey(id: \"x\") { errors { code } } }", "FORBIDDEN"),
        (&test_key, CREATE_TEAM, "FORBIDDEN"),
    ] {
        assert_eq!(t.ask(key, query).await.codes(), [code]);
    }
    for zone in ["UTC", "Nowhere"] {
        let from = if zone == "UTC" { "x" } else { "22:00" };
        let query = QUIET.replace("UTC", zone).replace("\"x\"", &format!("\"{from}\""));
        for _ in 0..2 {
            assert_eq!(t.ask(&sub.key, &query).await.refusals().len(), 1);
        }
    }
    write_counts(&t.app).await.expect("the counts are written");
    assert_eq!(
        refusals(t, &team.key).await,
        [
            json!(["SET_QUIET_HOURS", "TIME_ZONE_INVALID", 2]),
            json!(["SET_QUIET_HOURS", "TIME_INVALID", 2]),
            json!(["REVOKE_API_KEY", "FORBIDDEN", 1]),
            json!(["CREATE_TEAM", "FORBIDDEN", 1]),
            json!(["CREATE_TEAM", "FORBIDDEN", 701]),
        ]
    );
    assert_eq!(t.everything().await, before);
}

/// Refused calls that name no account of the team share one entry.
#[db_test]
async fn refusals_are_counted_per_account(t: &TestApp) {
    let (team, other) = (t.team(0).await, t.team(0).await);
    let (one, two) = (t.sub_account(&team, json!({})).await, t.sub_account(&team, json!({})).await);
    let suspend = "mutation($id: ID!) { suspendSubAccount(account: { id: $id }, input: { reason: \"\" }) \
                   { errors { code } } }";
    for id in [&one.id, &two.id, &one.id] {
        let answer = t.ask_with(&team.key, suspend, json!({ "id": id })).await;
        assert_eq!(answer.refusals(), ["REASON_INVALID"]);
    }
    for id in [&other.main_account_id, &team.main_account_id.replace('0', "1")] {
        let answer = t.ask_with(&team.key, suspend, json!({ "id": id })).await;
        assert_eq!(answer.refusals(), ["REASON_INVALID"]);
    }
    let rename =
        "mutation($id: ID!) { updateApiKey(id: $id, input: { name: \"\" }) { errors { code } } }";
    for id in [&one.key_id, &two.key_id] {
        let answer = t.ask_with(&team.key, rename, json!({ "id": id })).await;
        assert_eq!(answer.refusals(), ["NAME_INVALID"]);
    }
    let adjust = "mutation($id: ID!) { adjustTeamBalance(input: { teamId: $id, amount: 0, reason: \"x\", \
                  idempotencyKey: \"a\" }) { errors { code } } }";
    for id in [&team.id, &other.id] {
        let answer = t.ask_with(&t.operator, adjust, json!({ "id": id })).await;
        assert_eq!(answer.refusals(), ["AMOUNT_INVALID"]);
    }
    write_counts(&t.app).await.expect("the counts are written");

    let query =
        "{ auditLog(filter: { outcome: [REFUSED] }) { nodes { action count account { id } } } }";
    let found = t.ask(&team.key, query).await;
    let nodes = found.data()["auditLog"]["nodes"].as_array().expect("nodes").clone();
    let entries: Vec<Value> = nodes
        .iter()
        .map(|node| json!([node["action"], node["account"]["id"], node["count"]]))
        .collect();
    let expected = [
        json!(["ADJUST_TEAM_BALANCE", null, 1]),
        json!(["UPDATE_API_KEY", two.id, 1]),
        json!(["UPDATE_API_KEY", one.id, 1]),
        json!(["SUSPEND_SUB_ACCOUNT", null, 2]),
        json!(["SUSPEND_SUB_ACCOUNT", two.id, 1]),
        json!(["SUSPEND_SUB_ACCOUNT", one.id, 2]),
    ];
    assert_eq!(entries, expected);
    assert_eq!(
        refusals(t, &other.key).await,
        [json!(["ADJUST_TEAM_BALANCE", "AMOUNT_INVALID", 1])]
    );
}

/// A refusal shortly before the end of an entry's minute is still counted in that entry.
#[db_test]
async fn an_entry_is_closed_a_minute_after_its_first_refusal(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let refused = async |times: usize| {
        for _ in 0..times {
            assert_eq!(t.ask(&sub.key, CREATE_TEAM).await.codes(), ["FORBIDDEN"]);
        }
    };

    refused(1).await;
    t.step(TimeDelta::milliseconds(59_999));
    refused(2).await;
    t.step(TimeDelta::milliseconds(1));
    refused(4).await;
    t.step(TimeDelta::minutes(5));
    write_counts(&t.app).await.expect("the counts are written");
    refused(1).await;
    write_counts(&t.app).await.expect("there is nothing to write");

    let expected = [1, 4, 3].map(|count| json!(["CREATE_TEAM", "FORBIDDEN", count]));
    assert_eq!(refusals(t, &team.key).await, expected);
    // Each process counts its own refusals, so the second process begins a new entry.
    let other = t.beside(Setup::default()).await;
    assert_eq!(other.ask(&sub.key, CREATE_TEAM).await.codes(), ["FORBIDDEN"]);
    assert_eq!(refusals(t, &team.key).await.len(), 4);
}

/// If the first refusal cannot be entered, the next refusal is entered instead. Counts that cannot be written are kept
/// in memory and written later.
#[db_test]
async fn no_refusal_is_lost_while_the_database_fails(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let refused = async || assert_eq!(t.ask(&sub.key, CREATE_TEAM).await.codes(), ["FORBIDDEN"]);

    t.execute("ALTER TABLE audit_entry RENAME TO gone").await;
    refused().await;
    t.execute("ALTER TABLE gone RENAME TO audit_entry").await;
    refused().await;
    assert_eq!(refusals(t, &team.key).await, [json!(["CREATE_TEAM", "FORBIDDEN", 1])]);
    refused().await;
    t.execute("ALTER TABLE audit_entry RENAME TO gone").await;
    write_counts(&t.app).await.expect_err("there is no table");
    t.execute("ALTER TABLE gone RENAME TO audit_entry").await;
    refused().await;
    write_counts(&t.app).await.expect("the counts are written");

    assert_eq!(refusals(t, &team.key).await, [json!(["CREATE_TEAM", "FORBIDDEN", 3])]);
}

#[db_test]
async fn the_database_lets_only_the_count_of_a_refusal_grow(t: &TestApp) {
    let team = t.team(0).await;
    assert_eq!(t.ask(&team.key, CREATE_TEAM).await.codes(), ["FORBIDDEN"]);
    assert_eq!(t.ask(&team.key, QUIET).await.refusals(), ["TIME_INVALID"]);
    t.execute("UPDATE audit_entry SET count = 2 WHERE outcome = 'REFUSED'").await;

    for (sql, said) in [
        ("UPDATE audit_entry SET count = 1 WHERE outcome = 'REFUSED'", "append-only"),
        ("UPDATE audit_entry SET count = 2 WHERE outcome = 'REFUSED'", "append-only"),
        ("UPDATE audit_entry SET count = 3, code = 'X' WHERE outcome = 'REFUSED'", "append-only"),
        (
            "UPDATE audit_entry SET count = 3, target_id = id WHERE outcome = 'REFUSED'",
            "append-only",
        ),
        (
            "UPDATE audit_entry SET count = 3, \"after\" = '{}' WHERE outcome = 'REFUSED'",
            "append-only",
        ),
        ("UPDATE audit_entry SET count = 2 WHERE outcome = 'DONE'", "check"),
    ] {
        let refused = t.app.db.write.execute_unprepared(sql).await.expect_err(sql).to_string();
        assert!(refused.to_lowercase().contains(said), "{sql}: {refused}");
    }

    let expected = ["SET_QUIET_HOURS", "CREATE_TEAM"];
    let codes = ["TIME_INVALID", "FORBIDDEN"];
    let expected: Vec<Value> =
        expected.iter().zip(codes).map(|(action, code)| json!([action, code, 2])).collect();
    assert_eq!(refusals(t, &team.key).await, expected);
}
