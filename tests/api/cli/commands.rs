//! The program itself: its commands, what they print, and their exit codes.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use db_test::{db_test, needs_postgres};
use serde_json::{Value, json};

use crate::harness::{self, Database, Postgres, Running, Setup, Sqlite, TestApp, text};

pub fn tollgate(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(arguments)
        .env("DATABASE_URL", url)
        .env_remove("DATABASE_URL_FILE")
        .output()
        .expect("the program starts")
}

/// Standard output of a command that succeeds.
#[track_caller]
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[track_caller]
fn json_of(output: &Output) -> Value {
    stdout(output).parse().expect("one JSON object")
}

/// Standard error and exit code of a command that does not.
#[track_caller]
pub fn failure(output: &Output) -> (Option<i32>, String) {
    assert!(!output.status.success());
    assert_eq!(output.stdout, b"");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// C10, C4: teams and their keys are made from the command line and work over the API.
#[db_test]
#[tokio::test]
async fn teams_and_keys_are_made_on_the_command_line(database: Database) {
    let t = TestApp::start(database).await;

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
    // The serving process is another one: it may go by what it knows for a second (R20).
    let revoked = async {
        while t.ask(&text(&second["plainKey"]), "{ viewer { role } }").await.status != 401 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), revoked).await.expect("the key ends");
    t.close().await;
}

/// What a command does, and what it refuses, is in the audit log, without a key or a request.
#[db_test]
#[tokio::test]
async fn commands_are_entered_in_the_audit_log(database: Database) {
    let t = TestApp::start(database).await;
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
    t.close().await;
}

/// What cannot be done says so, on standard error, with exit code 2, and changes nothing.
#[db_test]
#[tokio::test]
async fn what_cannot_be_done_is_said(database: Database) {
    let t = TestApp::start(database).await;
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
        (vec!["team", "top-up", &team.id, "--amount=-1"], "more than 0"),
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
    t.close().await;
}

/// The price list goes out as CSV and comes in again: shown first, carried out with --commit.
#[db_test]
#[tokio::test]
async fn prices_are_shown_before_they_are_imported(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1000).await;
    let list = stdout(&tollgate(&t.url, &["price", "list"]));
    let countries: std::collections::BTreeSet<_> =
        list.lines().filter_map(|line| line.split(',').nth(2)).collect();
    assert!(countries.len() > 20, "the seeded list has {} countries", countries.len());
    assert!(list.contains("EMAIL,,,0.04\n"));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prices.csv");
    let import = |text: &str, commit: bool| {
        std::fs::write(&file, text).expect("the file is written");
        let mut arguments = vec!["price", "import", file.to_str().expect("a path")];
        if commit {
            arguments.push("--commit");
        }
        tollgate(&t.url, &arguments)
    };

    let same = stdout(&import(&list, true));
    assert!(same.contains("0 added, 0 changed, 0 removed."), "{same}");
    let before = t.everything().await;
    for (bad, said) in [
        ("channel,prefix\n", "must name the columns"),
        ("channel,prefix,country,price_cents\n", "has no prices"),
        ("channel,prefix,country,price_cents\nFAX,1,US,1\n", "line 2: \"FAX\" is not a channel"),
        (
            "channel,prefix,country,price_cents\nSMS,+1,US,1\n",
            "line 2: \"+1\" is not a dial prefix",
        ),
        (
            "channel,prefix,country,price_cents\nSMS,1,us,1\n",
            "line 2: \"us\" is not a country code",
        ),
        ("channel,prefix,country,price_cents\nSMS,1,US,-1\n", "line 2: price_cents"),
        ("channel,prefix,country,price_cents\nSMS,1,US,0.00001\n", "more than four decimals"),
        (
            "channel,prefix,country,price_cents\nSMS,1,US,1\nSMS,1,US,2\n",
            "line 3: duplicate channel and prefix (first on line 2)",
        ),
        (
            "channel,prefix,country,price_cents\nEMAIL,1,,1\n",
            "only SMS and WHATSAPP have dial prefixes",
        ),
        ("channel,prefix,country,price_cents\nSMS,1\n", "the row has 2 fields"),
    ] {
        let (code, error) = failure(&import(bad, true));
        assert!(code == Some(2) && error.contains(said), "{error}");
    }
    let shown = "channel,prefix,country,price_cents\nSMS,1,US,2.5\nSMS,1202,US,4\nEMAIL,,,0.04\n";
    let dry = stdout(&import(shown, false));
    assert!(
        dry.contains("+ SMS 1202 US 4 cents ($0.04)")
            && dry.contains("~ SMS 1 US 0.83 cents ($0.0083) -> 2.5 cents ($0.025)"),
        "{dry}"
    );
    assert!(
        dry.contains("- SMS 44 GB 4.2 cents ($0.042)") && dry.contains("Nothing was changed"),
        "{dry}"
    );
    assert_eq!(t.everything().await, before);

    stdout(&import(shown, true));
    for (to, cost) in [("+12025550123", json!(4)), ("+13105550123", json!(2.5))] {
        let sent = t.send(&team.key, json!({ "to": to, "text": "Hi" })).await;
        assert_eq!(sent.data()["sendMessage"]["message"]["cost"], cost, "the longest prefix wins");
    }
    let sent = t.send(&team.key, json!({ "to": "+447911123456", "text": "Hi" })).await;
    assert_eq!(sent.refusals(), ["NO_PRICE"]);
    t.close().await;
}

/// Numbers are put in stock from CSV: shown first, carried out with --commit; who has what is
/// listed.
#[db_test]
#[tokio::test]
async fn numbers_are_shown_before_they_are_stocked(database: Database) {
    const HEADER: &str = "number,country,type,capabilities,upfront_cents,monthly_cents\n";
    let t = TestApp::start(database).await;
    let team = t.team(1000).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("numbers.csv");
    let import = |rows: &str, commit: bool| {
        std::fs::write(&file, rows).expect("the file is written");
        let mut arguments = vec!["number", "import", file.to_str().expect("a path")];
        if commit {
            arguments.push("--commit");
        }
        tollgate(&t.url, &arguments)
    };
    let list = || stdout(&tollgate(&t.url, &["number", "list"]));
    let before = t.everything().await;

    let file_of = |rows: &str| format!("{HEADER}{rows}\n");
    for (bad, said) in [
        ("number,country\n".to_owned(), "must name the columns"),
        (HEADER.to_owned(), "has no numbers"),
        (file_of("12025550101,US,LOCAL,SMS,1,1"), "line 2: \"12025550101\" is no number"),
        (file_of("+12025550101,us,LOCAL,SMS,1,1"), "line 2: \"us\" is no country"),
        (file_of("+12025550101,US,SHORT,SMS,1,1"), "line 2: \"SHORT\" is no type"),
        (file_of("+12025550101,US,LOCAL,FAX,1,1"), "line 2: \"FAX\" is no capability"),
        (file_of("+12025550101,US,LOCAL,,1,1"), "line 2: a number has capabilities"),
        (file_of("+12025550101,US,LOCAL,SMS,-1,1"), "line 2: upfront_cents"),
        (file_of("+12025550101,US,LOCAL,SMS,1,0.00001"), "line 2: monthly_cents"),
        (
            file_of("+12025550101,US,LOCAL,SMS,1,1\n+1 202 555 0101,US,LOCAL,SMS,1,1"),
            "line 3: duplicate number (first on line 2)",
        ),
        (
            file_of("+12025550101,US,LOCAL,SMS,1,1\n+12025550102,US,LOCAL,SMS,1,x\nx,,,,,"),
            "line 3: monthly_cents: the amount is not a decimal number\n  line 4:",
        ),
    ] {
        let (code, error) = failure(&import(&bad, true));
        assert!(code == Some(2) && error.contains(said), "{error}");
    }
    let rows = format!(
        "{HEADER}+12025550102,US,TOLL_FREE,SMS WHATSAPP,0,250.5\n+1 (202) 555-0101,US,LOCAL,SMS,100,200\n"
    );
    let dry = stdout(&import(&rows, false));
    assert!(
        dry.contains(
            "+ +12025550101 US LOCAL SMS: 100 cents ($1.00) + 200 cents ($2.00) a month\n"
        ),
        "{dry}"
    );
    assert!(dry.contains("2 added, 0 changed, 0 unchanged.\nNothing was changed"), "{dry}");
    assert_eq!(t.everything().await, before);

    stdout(&import(&rows, true));
    let bought = t.purchase(&team.key, json!({ "number": "+12025550101" })).await;
    assert_eq!(bought.refusals(), [""; 0]);
    let listed = format!(
        "number,country,type,capabilities,upfront_cents,monthly_cents,status,account_id,renews_at\n\
         +12025550101,US,LOCAL,SMS,100,200,ACTIVE,{},2026-04-16T12:00:00+00:00\n\
         +12025550102,US,TOLL_FREE,SMS WHATSAPP,0,250.5,AVAILABLE,,\n",
        team.main_account_id
    );
    assert_eq!(list(), listed);
    // What is listed can be imported as it is; numbers that a file does not name stay.
    let same = stdout(&import(&listed, true));
    assert!(same.contains("0 added, 0 changed, 2 unchanged."), "{same}");
    let changed = stdout(&import(&file_of("+12025550101,US,LOCAL,SMS,100,900"), true));
    assert!(
        changed.contains("100 cents ($1.00) + 200 cents ($2.00) a month -> +12025550101"),
        "{changed}"
    );
    assert_eq!(list(), listed.replace(",100,200,", ",100,900,"));
    // Who bought it pays what it cost then.
    t.step(chrono::TimeDelta::days(31));
    t.renew().await;
    let balance = t.ask(&team.key, "{ balance { balance } }").await;
    assert_eq!(balance.data()["balance"]["balance"], 500);

    for (number, said) in [
        ("+12025550101", "its account keeps it until it releases it"),
        ("+1 202 555 0102", "+12025550102 was removed from the inventory."),
    ] {
        let withdrawn = stdout(&tollgate(&t.url, &["number", "withdraw", number]));
        assert!(withdrawn.contains(said), "{withdrawn}");
    }
    let (_, error) = failure(&tollgate(&t.url, &["number", "withdraw", "+12025550102"]));
    assert!(error.contains("no such number in stock"), "{error}");
    assert_eq!(list().lines().count(), 1, "a header");
    let id = &bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"];
    let release = format!("mutation {{ releasePhoneNumber(id: {id}) {{ errors {{ code }} }} }}");
    assert_eq!(t.ask(&team.key, &release).await.refusals(), [""; 0]);
    for number in ["+12025550101", "+12025550102"] {
        let refused = t.purchase(&team.key, json!({ "number": number })).await;
        assert_eq!(refused.refusals(), ["NUMBER_UNAVAILABLE"]);
    }
    // Imported again they are in stock again.
    stdout(&import(&rows, true));
    let bought = t.purchase(&team.key, json!({ "number": "+12025550101" })).await;
    assert_eq!(bought.refusals(), [""; 0]);
    t.close().await;
}

/// C16, C19: a line a sub-account, for billing.
#[db_test]
#[tokio::test]
async fn usage_is_exported_a_line_a_sub_account(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1000).await;
    let abc = t.sub_account(&team, json!({ "name": "Client, \"ABC\"", "externalId": "abc" })).await;
    let idle = t.sub_account(&team, json!({ "name": "Idle" })).await;
    let other = t.team(1000).await;
    t.sub_account(&other, json!({ "name": "Elsewhere" })).await;
    t.sends(&abc.key).await;
    t.send(&abc.key, json!({ "to": "+15005550001", "text": "a".repeat(161) })).await;
    t.sends(&team.key).await;
    t.deliver().await;
    let (stocked, priced) = ("+12025550101", "+12025550101,US,LOCAL,SMS,100,200");
    let folder = tempfile::tempdir().expect("a folder");
    let numbers = folder.path().join("numbers.csv");
    let rows = format!("number,country,type,capabilities,upfront_cents,monthly_cents\n{priced}\n");
    std::fs::write(&numbers, rows).expect("the file is written");
    let numbers = numbers.to_str().expect("a path");
    stdout(&tollgate(&t.url, &["number", "import", numbers, "--commit"]));
    let bought = t.purchase(&abc.key, json!({ "number": stocked })).await;
    assert_eq!(bought.refusals(), [""; 0]);

    let export =
        ["usage", "export", "--from", "2026-03-01", "--to", "2026-03-31", "--team", &team.id];
    let csv = stdout(&tollgate(&t.url, &export));

    assert_eq!(
        csv,
        format!(
            "team_id,account_id,external_id,name,from,to,messages,segments,delivered,failed,\
             charged_cents,refunded_cents,spent_cents,number_fees_cents\n\
             {0},{1},abc,\"Client, \"\"ABC\"\"\",2026-03-01,2026-03-31,2,3,1,1,302.49,1.66,300.83,300\n\
             {0},{2},,Idle,2026-03-01,2026-03-31,0,0,0,0,0,0,0,0\n",
            team.id, abc.id, idle.id
        )
    );
    let with_main = stdout(&tollgate(&t.url, &[&export[..], &["--main-accounts"]].concat()));
    let main = format!(
        "{},{},,Acme,2026-03-01,2026-03-31,1,1,1,0,0.83,0,0.83,0",
        team.id, team.main_account_id
    );
    assert_eq!(with_main.lines().nth(1), Some(&*main));
    assert_eq!(with_main.lines().count(), 4);
    let all = stdout(&tollgate(&t.url, &export[..6]));
    assert_eq!(all.lines().count(), 4, "all teams' sub-accounts and a header");
    t.close().await;
}

/// R14: exit code 0 if balances and totals agree with the ledger, 1 for drift.
#[db_test]
#[tokio::test]
async fn reconciliation_reports_drift_by_its_exit_code(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1000).await;
    assert!(t.sends(&team.key).await);

    let clean = tollgate(&t.url, &["reconcile"]);
    assert!(stdout(&clean).contains("Clean"));
    t.execute("UPDATE team SET balance_micros = balance_micros + 1").await;
    let drift = tollgate(&t.url, &["reconcile", "--json"]);
    // The former name of the command.
    let said = tollgate(&t.url, &["audit"]);
    t.execute("UPDATE team SET balance_micros = balance_micros - 1").await;

    assert_eq!((drift.status.code(), said.status.code()), (Some(1), Some(1)));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let fault = "its balance is stored as 999.1701 cents ($9.991701), its ledger sums to 999.17 cents ($9.9917).";
    assert!(said.contains(&format!("\nDRIFT: team {}: {fault}\n", team.id)), "{said}");
    let report: Value = String::from_utf8_lossy(&drift.stdout).parse().expect("one JSON object");
    assert_eq!(
        report,
        json!({
            "clean": false, "teams": 1, "accounts": 1, "ledgerEntries": 2,
            "drifts": [{
                "check": "a team's balance is the sum of its ledger", "id": team.id,
                "storedMicros": 9_991_701, "ledgerMicros": 9_991_700,
            }],
        })
    );
    t.close().await;
}

#[test]
fn the_schema_is_printed() {
    let printed = stdout(&tollgate("sqlite::memory:", &["schema"]));
    assert_eq!(printed, include_str!("../../../schema.graphql"));
}

/// What the sandbox's hook answers somebody without a key.
fn status_of_inbound(url: &str) -> String {
    let host = url.trim_start_matches("http://").split('/').next().expect("a host");
    let mut stream = TcpStream::connect(host).expect("it listens");
    let request = format!(
        "POST /sandbox/inbound HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is answered");
    answer.split(' ').nth(1).expect("a status").to_owned()
}

fn demo(folder: &Path) -> (Running, Value) {
    let arguments = ["demo", "--json", "--listen", "127.0.0.1:0", "--data"];
    harness::demo(Command::new(env!("CARGO_BIN_EXE_tollgate")).args(arguments).arg(folder))
}

/// C7 and the first thing a newcomer runs: started again on its own data the demo makes fresh keys; on
/// other data it refuses; a folder is served by one process.
#[tokio::test]
async fn the_demo_stands_again_on_its_own_data() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("tollgate.db").display());

    let (first, started) = demo(folder.path());
    assert!(text(&started["url"]).starts_with("http://127.0.0.1:"));
    assert_eq!(status_of_inbound(&text(&started["url"])), "401", "the sandbox's hook wants a key");
    let second = tollgate(&url, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(failure(&second).1.contains("served by another process"));
    let keys = started["keys"].as_object().expect("keys").clone();
    assert_eq!(
        keys.keys().collect::<Vec<_>>(),
        ["clientAbc", "clientXyz", "main", "operator", "partnerCo"]
    );
    drop(first);

    let (again, restarted) = demo(folder.path());
    let fresh = restarted["keys"].as_object().expect("keys").clone();
    assert!(fresh.iter().all(|(name, key)| keys[name] != *key));
    drop(again);
    stdout(&tollgate(&url, &["reconcile"]));
    let db = tollgate::db::Db::connect(&url, 1).await.expect("the database opens");
    let (app, _) = tollgate::app::App::new(
        db,
        std::sync::Arc::new(tollgate::clock::SystemClock),
        tollgate::carrier::Carriers::none(),
    );
    for (name, key) in &keys {
        let old = tollgate::domain::api_key::authentication::authenticate(&app, &text(key))
            .await
            .expect("a look");
        let new =
            tollgate::domain::api_key::authentication::authenticate(&app, &text(&fresh[name]))
                .await
                .expect("a look");
        assert!(old.is_none() && new.is_some(), "{name}");
    }

    stdout(&tollgate(&url, &["team", "create", "--name", "Another"]));
    let refused = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["demo", "--listen", "127.0.0.1:0", "--data"])
        .arg(folder.path())
        .output()
        .expect("the program starts");
    assert!(failure(&refused).1.contains("this database was not created by the demo"));
}

/// A taken port is a clear error, before anything is made.
#[test]
fn a_taken_port_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tollgate.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());

    let (code, error) = failure(&tollgate(&url, &["serve", "--listen", &address]));

    assert_eq!(code, Some(2));
    assert!(error.contains(&format!("cannot listen on {address}")), "{error}");
    assert!(!file.exists());
}

/// Output that cannot be written is told, and changes nothing that was done; a log that cannot be written stops nothing.
#[tokio::test]
async fn a_full_or_closed_output_is_told() {
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("the device");
    let mut schema = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let told = schema.arg("schema").stdout(full()).output().expect("the program runs");
    assert_eq!(told.status.code(), Some(2));
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.starts_with("error: standard output cannot be written: "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");

    let folder = tempfile::tempdir().expect("a folder");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    demo.args(["demo", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
    demo.env_remove("DATABASE_URL").stdout(Stdio::piped()).stderr(full());
    let mut running = Running(demo.spawn().expect("the program starts"));
    let mut line = String::new();
    let stdout = running.0.stdout.take().expect("its output is piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let started: Value = line.parse().expect("one JSON object");
    let url = text(&started["url"]);
    let host = url.trim_start_matches("http://").trim_end_matches("/graphql");
    let mut stream = TcpStream::connect(host).expect("it listens");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A word that opts in again is none that opts out.
#[test]
fn a_start_word_is_no_stop_word() {
    let (code, error) =
        failure(&tollgate("sqlite://x.db", &["serve", "--stop-words", "ALTO,start"]));
    assert_eq!(code, Some(2));
    assert!(error.contains("this one is an opt-in keyword"), "{error}");
}

/// An origin that no browser sends is refused at the start, with the reason.
#[test]
fn an_origin_that_never_matches_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tollgate.db");
    let url = format!("sqlite://{}?mode=rwc", file.display());
    for (origins, said) in [
        ("https://*.example.com", "wildcards are not supported"),
        ("https://app.example.com,http://", "empty host"),
        ("https://a b", "expected an origin such as https://app.example.com"),
        ("https://App.example.com/", "browsers send https://app.example.com"),
    ] {
        let (code, error) = failure(&tollgate(&url, &["serve", "--cors-origins", origins]));
        assert_eq!(code, Some(2));
        assert!(error.contains(said), "{origins}: {error}");
    }
    assert!(!file.exists());
}

/// A demo that other machines may reach says so; one of this machine alone has nothing to say.
#[test]
fn a_demo_that_others_reach_says_so() {
    for (listen, is_reached) in [("0.0.0.0:0", true), ("127.0.0.1:0", false), ("[::1]:0", false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.args(["demo", "--json", "--listen", listen, "--data"]).arg(folder.path());
        command.env_remove("DATABASE_URL").stdout(Stdio::piped());
        command.stderr(std::fs::File::create(&log).expect("a file"));
        let mut running = Running(command.spawn().expect("the program starts"));
        let mut line = String::new();
        let stdout = running.0.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let said = std::fs::read_to_string(&log).expect("the log");
        if line.is_empty() && listen.starts_with('[') {
            // This machine has no IPv6.
            assert!(said.contains("cannot listen"), "{said}");
            continue;
        }
        assert!(line.contains("tg_operator_"), "{line}");
        assert_eq!(said.contains("which other machines may reach"), is_reached, "{listen}: {said}");
        assert!(!said.contains("tg_operator_"), "no key is in the log");
    }
}

/// PostgreSQL is migrated when it is asked for, and the error names the command.
#[db_test]
#[tokio::test]
async fn a_schema_that_is_not_current_names_the_command(database: Database) {
    use migration::MigratorTrait as _;
    let t = TestApp::start_with(database, Setup::of_owner()).await;
    let list = || tollgate(&t.url, &["team", "list"]);
    migration::Migrator::down(&t.app.db.write, Some(1)).await.expect("the migration goes down");
    match database {
        Sqlite => assert!(stdout(&list()).contains("No team exists yet")),
        Postgres => {
            let said = "the database's schema is not current; run `tollgate migrate` with the same database URL first";
            assert!(failure(&list()).1.contains(said));
        }
    }

    migration::Migrator::down(&t.app.db.write, None).await.expect("the migrations go down");
    let said = "has no Tollgate tables; run `tollgate migrate` with the same database URL first";
    assert!(failure(&list()).1.contains(said));
    stdout(&tollgate(&t.url, &["migrate"]));
    assert!(stdout(&list()).contains("No team exists yet"));
    assert!(t.app.db.is_current().await.expect("the database answers"));
    t.close().await;
}

/// A login that PostgreSQL refuses, or lets do too little, is told what is wrong, and nothing is made.
#[needs_postgres]
#[tokio::test]
async fn what_postgresql_refuses_is_named() {
    let t = TestApp::start(Postgres).await;
    let (scheme, rest) = t.url.split_once("://").expect("a URL");
    let (_, address) = rest.split_once('@').expect("a login");
    let server = address.split('/').next().expect("a server");
    let name = address.split(['/', '?']).nth(1).expect("a database");
    // Logins are the whole server's: one of the database's name is of this test alone.
    let login = format!("limited_{name}");
    t.execute(&format!("CREATE ROLE {login} LOGIN PASSWORD 'a-password'")).await;
    let without_row_security = "DO $$ DECLARE name text; BEGIN \
         FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP \
         EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', name); END LOOP; END $$";
    t.execute(without_row_security).await;
    let url = |password: &str, address: &str| format!("{scheme}://{login}:{password}@{address}");
    let before = t.everything().await;
    let refusal = |url: &str, command: &[&str]| {
        let (code, error) = failure(&tollgate(url, command));
        assert_eq!(code, Some(2), "{error}");
        assert!(!error.contains("a-password"), "{error}");
        error
    };

    let mine = url("a-password", address);
    for (command, denied) in [
        (&["migrate"][..], "permission denied for"),
        (&["team", "list"], "permission denied for table seaql_migrations"),
        (&["reconcile"], "permission denied for table seaql_migrations"),
        (
            &["serve", "--sandbox", "--listen", "127.0.0.1:0"],
            "permission denied for table seaql_migrations",
        ),
    ] {
        let error = refusal(&mine, command);
        assert!(error.contains(denied), "{command:?}: {error}");
        assert!(error.contains("or grant it the right"), "{command:?}: {error}");
    }
    t.execute(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {login}")).await;
    let error = refusal(&mine, &["team", "create", "--name", "Another"]);
    assert!(error.contains("permission denied for table"), "{error}");
    let error = refusal(&mine, &["serve", "--sandbox", "--listen", "127.0.0.1:0"]);
    assert!(error.contains("may not read and change the table account"), "{error}");

    let missing = url("a-password", &address.replacen(name, "nowhere", 1));
    let error = refusal(&missing, &["team", "list"]);
    assert!(error.contains(&format!("PostgreSQL at {server} has no database nowhere")), "{error}");
    // A server of the tests' own asks this login for its password; another one may ask nobody.
    if std::env::var_os("TEST_DATABASE_URL").is_none() {
        t.execute(&format!("GRANT {} TO {login}", harness::ASKED_FOR_PASSWORDS)).await;
        let error = refusal(&url("wrong", address), &["team", "list"]);
        let said = format!("PostgreSQL at {server} refused the password of {login}");
        assert!(error.contains(&said), "{error}");
    }

    assert_eq!(t.everything().await, before);
    t.execute(&format!("DROP OWNED BY {login}")).await;
    t.execute(&format!("DROP ROLE {login}")).await;
    t.close().await;
}

/// Contacts go out and come in as CSV; each row has its verdict, and a bad one loses nothing but itself.
#[db_test]
#[tokio::test]
async fn contacts_are_imported_and_exported(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("contacts.csv");
    let path = file.to_str().expect("a path").to_owned();
    let rows = "sms,display_name,tags,metadata,email,telegram\n\
        +1 202 555 0101 #work,'=Ada,\"vip\nb\",\"{\"\"k\"\": 1}\",\"a@b.io\n'=c@d.io\",-100\n\
        nonsense,Bob,,,,\n\
        +12025550102,'t Hooft,,,,\n\
        +12025550101,Twice,,,,\n\
        too,few\n\
        +12025550103,,,[1],,\n";
    std::fs::write(&file, rows).expect("the file is written");
    let import = |path: &str, account: &str| {
        tollgate(&t.url, &["contact", "import", "--account", account, path])
    };

    let done = import(&path, &sub.id);

    assert_eq!(done.status.code(), Some(2));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(said.contains("4 of 6 rows were refused"), "{said}");
    let verdicts = String::from_utf8(done.stdout).expect("text");
    let mut reader = csv::Reader::from_reader(verdicts.as_bytes());
    let verdicts: Vec<(String, bool, String)> = reader
        .records()
        .map(|record| record.expect("a record"))
        .map(|record| (record[0].to_owned(), record[1].is_empty(), record[2].to_owned()))
        .collect();
    let verdict =
        |line: &str, is_refused, code: &str| (line.to_owned(), is_refused, code.to_owned());
    let expected = [
        verdict("2", false, ""),
        verdict("5", true, "ADDRESS_INVALID"),
        verdict("6", false, ""),
        verdict("7", true, "ADDRESS_TAKEN"),
        verdict("8", true, "ROW_INVALID"),
        verdict("9", true, "ROW_INVALID"),
    ];
    assert_eq!(verdicts, expected);
    let query =
        "{ contacts { nodes { displayName tags metadata addresses { channel address label } } } }";
    let contacts = t.ask(&sub.key, query).await.body;
    let first = json!({ "displayName": "=Ada", "tags": ["b", "vip"], "metadata": { "k": 1 }, "addresses": [
        { "channel": "SMS", "address": "+12025550101", "label": "work" },
        { "channel": "EMAIL", "address": "a@b.io", "label": null },
        { "channel": "EMAIL", "address": "'=c@d.io", "label": null },
        { "channel": "TELEGRAM", "address": "-100", "label": null },
    ] });
    assert_eq!(contacts["data"]["contacts"]["nodes"][1], first);
    assert_eq!(contacts["data"]["contacts"]["nodes"][0]["displayName"], "'t Hooft");

    // What goes out comes in again, to another account, as it was.
    let exported = stdout(&tollgate(&t.url, &["contact", "export", "--account", &sub.id]));
    std::fs::write(&file, &exported).expect("the file is written");
    stdout(&import(&path, &team.main_account_id));
    let again = t.ask(&team.key, query).await.body;
    let reversed = |body: &Value| {
        let mut nodes = body["data"]["contacts"]["nodes"].as_array().expect("nodes").clone();
        nodes.reverse();
        nodes
    };
    assert_eq!(json!(reversed(&again)), contacts["data"]["contacts"]["nodes"]);
    let before = t.everything().await;
    assert_eq!(import(&path, &sub.id).status.code(), Some(2));

    let too_many = format!("sms\n{}", "+12025550104\n".repeat(10_001));
    for (rows, account, said) in [
        ("name,sms\nA,+12025550104\n", sub.id.as_str(), "\"name\" is no column"),
        (too_many.as_str(), sub.id.as_str(), "more than 10000 rows"),
        ("sms\n+12025550104\n", "019a0000-0000-7000-8000-000000000000", "no account has this id"),
    ] {
        std::fs::write(&file, rows).expect("the file is written");
        let (code, error) = failure(&import(&path, account));
        assert!(code == Some(2) && error.contains(said), "{error}");
    }
    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// JSON that the parser would read within itself, in a cell.
#[db_test]
#[tokio::test]
async fn a_cell_of_metadata_cannot_end_the_program(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("contacts.csv");
    let mut bomb = "1".to_owned();
    for _ in 0..400 {
        let text = bomb.replace('\\', r"\u005c").replace('"', r"\u0022");
        bomb = format!(r#"{{"$serde_json::private::RawValue":"{text}"}}"#);
    }
    let rows = format!("sms,metadata\n+12025550101,\"{}\"\n", bomb.replace('"', "\"\""));
    std::fs::write(&file, rows).expect("the file is written");

    let path = file.to_str().expect("a path");
    let done = tollgate(&t.url, &["contact", "import", "--account", &team.main_account_id, path]);

    assert_eq!(done.status.code(), Some(2), "{}", String::from_utf8_lossy(&done.stderr));
    let verdicts = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(verdicts.contains("ROW_INVALID") && verdicts.contains("reserved"), "{verdicts}");
    let contacts = t.ask(&team.key, "{ contacts { totalCount } }").await;
    assert_eq!(contacts.data()["contacts"]["totalCount"], json!(0));
    t.close().await;
}
