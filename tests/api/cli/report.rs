//! Commands that only print: the usage export, the reconciliation, and the schema.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
};

use db_test::db_test;
use serde_json::{Value, json};

use super::{stdout, tollgate};
use crate::harness::{Running, TestApp, text};

#[db_test]
async fn the_usage_export_has_one_line_per_sub_account(t: &TestApp) {
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
}

#[db_test]
async fn the_audit_exits_with_0_if_clean_and_1_if_it_finds_contradictions(t: &TestApp) {
    let team = t.team(1000).await;
    assert!(t.sends(&team.key).await);

    let clean = tollgate(&t.url, &["reconcile"]);
    assert!(stdout(&clean).contains("Clean"));
    t.execute("UPDATE team SET balance_micros = balance_micros + 1").await;
    let drift = tollgate(&t.url, &["reconcile", "--json"]);
    // `audit` is the former name of the `reconcile` command, and still works.
    let said = tollgate(&t.url, &["audit"]);
    t.execute("UPDATE team SET balance_micros = balance_micros - 1").await;

    assert_eq!((drift.status.code(), said.status.code()), (Some(1), Some(1)));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let fault = "its stored balance is 999.1701 cents ($9.991701), but its ledger entries add up to 999.17 cents ($9.9917).";
    assert!(said.contains(&format!("\nDRIFT: team {}: {fault}\n", team.id)), "{said}");
    let report: Value = String::from_utf8_lossy(&drift.stdout).parse().expect("one JSON object");
    assert_eq!(
        report,
        json!({
            "clean": false, "teams": 1, "accounts": 1, "ledgerEntries": 2,
            "drifts": [{
                "check": "a team's balance is the sum of its ledger entries", "id": team.id,
                "storedMicros": 9_991_701, "ledgerMicros": 9_991_700,
            }],
        })
    );
}

#[test]
fn the_schema_is_printed() {
    let printed = stdout(&tollgate("sqlite::memory:", &["schema"]));
    assert_eq!(printed, include_str!("../../../schema.graphql"));
}

/// If only the log cannot be written, the program continues.
#[tokio::test]
async fn output_that_cannot_be_written_is_an_error() {
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("the device");
    let mut schema = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    let output = schema.arg("schema").stdout(full()).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.starts_with("error: standard output cannot be written: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");

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
    let mut stream = TcpStream::connect(host).expect("the server listens");
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("a response");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
