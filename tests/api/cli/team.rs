//! Commands that manage teams and keys, the audit log entries of these commands, and refused commands.

use std::{process::Output, time::Duration};

use db_test::db_test;
use serde_json::{Value, json};

use super::{failure, stdout, tollgate};
use crate::harness::{TestApp, text};

#[track_caller]
fn json_of(output: &Output) -> Value {
    stdout(output).parse().expect("one JSON object")
}

#[db_test]
async fn teams_and_keys_created_on_the_command_line_work_over_the_api(t: &TestApp) {
    let made = tollgate(&t.url, &["team", "create", "--name", "Acme", "--top-up", "500", "--json"]);
    let made = json_of(&made);
    let key = text(&made["plainKey"]);
    let team_id = text(&made["teamId"]);
    let answer = t.ask(&key, "{ balance { balance } account { id } }").await;
    assert_eq!(
        *answer.data(),
        json!({ "balance": { "balance": 500 }, "account": { "id": made["mainAccountId"] } })
    );

    let top_up =
        ["team", "top-up", &team_id, "--amount", "100", "--idempotency-key", "a", "--json"];
    for replayed in [false, true] {
        let done = json_of(&tollgate(&t.url, &top_up));
        assert_eq!((&done["balance"], &done["replayed"]), (&json!(600), &json!(replayed)));
    }
    let teams = json_of(&tollgate(&t.url, &["team", "list", "--json"]));
    assert_eq!(teams, json!({ "teams": [{ "id": team_id, "name": "Acme", "balance": 600 }] }));

    let second = json_of(&tollgate(&t.url, &["key", "create", "--team", &team_id, "--json"]));
    let test =
        json_of(&tollgate(&t.url, &["key", "create", "--team", &team_id, "--test", "--json"]));
    let operator = json_of(&tollgate(&t.url, &["key", "create", "--operator", "--json"]));
    for (made, kind) in [(&second, "tg_live_"), (&test, "tg_test_"), (&operator, "tg_operator_")] {
        let key = text(&made["plainKey"]);
        assert!(key.starts_with(kind) && t.ask(&key, "{ viewer { role } }").await.status == 200);
    }
    let listed = json_of(&tollgate(&t.url, &["key", "list", "--team", &team_id, "--json"]));
    assert_eq!(listed["keys"].as_array().expect("a list").len(), 3);
    assert!(!listed.to_string().contains(&text(&second["plainKey"])));
    stdout(&tollgate(&t.url, &["key", "revoke", &text(&second["id"])]));
    // The server may accept the revoked key from its cache for one more second.
    let revoked = async {
        while t.ask(&text(&second["plainKey"]), "{ viewer { role } }").await.status != 401 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), revoked).await.expect("the key ends");
}

/// The audit log entries of commands have no key and no request id.
#[db_test]
async fn commands_leave_audit_log_entries_when_done_and_when_refused(t: &TestApp) {
    let nobody = "019a0000-0000-7000-8000-000000000000";
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the file is written");
        path.to_str().expect("a path").to_owned()
    };
    let prices =
        file("prices.csv", "channel,prefix,country,price_cents\nSMS,1,US,2\nSMS,1202,US,4\n");
    let contacts = file("contacts.csv", "email\na@b.io\nnonsense\n");
    let numbers = file(
        "numbers.csv",
        "number,country,type,capabilities,upfront_cents,monthly_cents\n\
         +12025550101,US,LOCAL,SMS,1,1\n",
    );

    let create = ["team", "create", "--name", "Acme", "--top-up", "3", "--json"];
    let made = json_of(&tollgate(&t.url, &create));
    let [team, main, key] = ["teamId", "mainAccountId", "plainKey"].map(|name| text(&made[name]));
    let sub = t.create_sub_account(&key, json!({ "name": "Sub" })).await;
    let sub = text(&sub.data()["createSubAccount"]["account"]["id"]);
    let top_up = ["team", "top-up", &team, "--amount", "1", "--idempotency-key", "a"];
    stdout(&tollgate(&t.url, &top_up));
    stdout(&tollgate(&t.url, &top_up));
    let second = json_of(&tollgate(&t.url, &["key", "create", "--team", &team, "--json"]));
    stdout(&tollgate(&t.url, &["key", "revoke", &text(&second["id"])]));
    stdout(&tollgate(&t.url, &["key", "create", "--operator"]));
    stdout(&tollgate(&t.url, &["price", "import", &prices, "--commit"]));
    stdout(&tollgate(&t.url, &["price", "import", &prices]));
    for account in [&main, &sub] {
        let import = tollgate(&t.url, &["contact", "import", "--account", account, &contacts]);
        assert_eq!(import.status.code(), Some(2), "one row is refused");
    }
    stdout(&tollgate(&t.url, &["number", "import", &numbers]));
    stdout(&tollgate(&t.url, &["number", "import", &numbers, "--commit"]));
    stdout(&tollgate(&t.url, &["number", "withdraw", "+12025550101"]));
    failure(&tollgate(&t.url, &["number", "withdraw", "+12025550101"]));
    failure(&tollgate(&t.url, &["team", "create", "--name", ""]));
    failure(&tollgate(&t.url, &["team", "top-up", nobody, "--amount", "1"]));
    failure(&tollgate(&t.url, &["key", "create", "--team", nobody]));
    failure(&tollgate(&t.url, &["key", "create", "--team", &team, "--name", ""]));
    failure(&tollgate(&t.url, &["key", "revoke", nobody]));
    failure(&tollgate(&t.url, &["key", "revoke", "x"]));

    let query = "{ auditLog(first: 100) { nodes { action outcome code actor actorKey { id } requestId \
                 team { id } account { id } after } } }";
    let of_command_line = async |key: &str| {
        let log = t.ask(key, query).await;
        let mut nodes = log.data()["auditLog"]["nodes"].as_array().expect("nodes").clone();
        nodes.retain(|node| node["actor"] == "COMMAND_LINE");
        assert!(nodes.iter().all(|node| node["actorKey"].is_null() && node["requestId"].is_null()));
        let short = |node: &Value| {
            let (team, account) = (&node["team"]["id"], &node["account"]["id"]);
            json!([node["action"], node["outcome"], node["code"], team, account])
        };
        let counts = nodes.iter().filter(|node| node["action"].to_string().contains("IMPORT"));
        (nodes.iter().map(short).collect::<Vec<_>>(), counts.cloned().collect::<Vec<_>>())
    };
    let of_main = [
        json!(["CREATE_API_KEY", "REFUSED", "NAME_INVALID", team, null]),
        json!(["IMPORT_CONTACTS", "DONE", null, team, main]),
        json!(["REVOKE_API_KEY", "DONE", null, team, main]),
        json!(["CREATE_API_KEY", "DONE", null, team, main]),
        json!(["TOP_UP_TEAM", "REPLAYED", null, team, null]),
        json!(["TOP_UP_TEAM", "DONE", null, team, null]),
        json!(["TOP_UP_TEAM", "DONE", null, team, null]),
        json!(["CREATE_TEAM", "DONE", null, team, null]),
    ];
    assert_eq!(of_command_line(&key).await.0, of_main);
    let (all, counts) = of_command_line(&t.operator).await;
    let expected = [
        &[
            json!(["REVOKE_API_KEY", "REFUSED", "NOT_FOUND", null, null]),
            of_main[0].clone(),
            json!(["CREATE_API_KEY", "REFUSED", "NOT_FOUND", null, null]),
            json!(["TOP_UP_TEAM", "REFUSED", "NOT_FOUND", null, null]),
            json!(["CREATE_TEAM", "REFUSED", "NAME_INVALID", null, null]),
            json!(["WITHDRAW_PHONE_NUMBER", "REFUSED", "NOT_FOUND", null, null]),
            json!(["WITHDRAW_PHONE_NUMBER", "DONE", null, null, null]),
            json!(["IMPORT_PHONE_NUMBERS", "DONE", null, null, null]),
            json!(["IMPORT_CONTACTS", "DONE", null, team, sub]),
            of_main[1].clone(),
            json!(["IMPORT_PRICES", "DONE", null, null, null]),
            json!(["CREATE_API_KEY", "DONE", null, null, null]),
        ][..],
        &of_main[2..],
        &[json!(["CREATE_API_KEY", "DONE", null, null, null])],
    ];
    assert_eq!(all, expected.concat());
    let after: Vec<&Value> = counts.iter().map(|node| &node["after"]).collect();
    let removed = &counts[3]["after"]["removed"];
    let (numbers, contacts) = (json!({ "added": 1, "changed": 0 }), json!({ "rows": 2 }));
    let prices = json!({ "added": 1, "changed": 1, "removed": removed });
    assert_eq!(after, [&numbers, &contacts, &contacts, &prices]);
}

#[db_test]
async fn a_refused_command_reports_the_reason_exits_with_2_and_changes_nothing(t: &TestApp) {
    let team = t.team(0).await;
    let before = t.everything().await;
    let nobody = "019a0000-0000-7000-8000-000000000000";

    for (arguments, said) in [
        (vec!["team", "create", "--name", ""], "1 to 200 characters"),
        (
            vec!["team", "create", "--name", "A", "--top-up", "500.50"],
            "in dollars this would be 50050 cents ($500.50), in cents 500.5 cents ($5.005)",
        ),
        (vec!["team", "top-up", &team.id, "--amount", "1.0"], "without a decimal point"),
        (vec!["team", "top-up", &team.id, "--amount", "15e-1"], "without a decimal point"),
        (
            vec!["team", "top-up", nobody, "--amount", "1"],
            "No team has this id. `tollgate team list`",
        ),
        (
            vec!["team", "top-up", "x", "--amount", "1"],
            "\"x\" is not a valid id (a UUID; see tollgate team list)",
        ),
        (vec!["team", "top-up", &team.id, "--amount=-1"], "greater than 0"),
        (vec!["key", "create", "--team", nobody], "No team has this id"),
        (vec!["key", "list", "--team", nobody], "No team has this id"),
        (vec!["key", "create", "--operator", "--test"], "cannot be used with"),
        (vec!["key", "create"], "required"),
        (vec!["key", "revoke", nobody], "no key has this id"),
        (vec!["key", "revoke", "x"], "see tollgate key list"),
        (vec!["serve", "--listen", "8080"], "an address and a port, such as 127.0.0.1:8080"),
        (vec!["serve", "--metrics-listen", "8080"], "such as 127.0.0.1:9090; or off"),
        (vec!["serve", "--metrics-listen", "on"], "such as 127.0.0.1:9090; or off"),
        (
            vec!["usage", "export", "--from", "2026-13-01", "--to", "2026-12-31"],
            "expected a date as YYYY-MM-DD",
        ),
        (
            vec!["serve", "--trusted-proxies", "foo"],
            "expected networks or addresses, such as 10.0.0.0/8",
        ),
        (
            vec!["key", "create", "--operator", "--expires-at", "2020-01-01T00:00:00Z"],
            "in the future",
        ),
        (
            vec!["key", "create", "--operator", "--expires-at", "2027-01-01"],
            "expected a date and time, such as 2027-01-01T00:00:00Z",
        ),
        (vec!["price", "import", "no-such-file.csv"], "cannot read no-such-file.csv"),
        (vec!["number", "import", "no-such-file.csv"], "cannot read no-such-file.csv"),
        (vec!["number", "withdraw", "12025550101"], "is not a phone number in E.164"),
        (
            vec!["usage", "export", "--from", "2026-03-02", "--to", "2026-03-01"],
            "must not end before it begins",
        ),
        (vec!["reconcile", "--database-url", "mysql://x"], "must begin with sqlite: or postgres:"),
    ] {
        let (code, error) = failure(&tollgate(&t.url, &arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(said), "{arguments:?}: {error}");
    }

    assert_eq!(t.everything().await, before);
}
