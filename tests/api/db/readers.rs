//! Read connections: how many of them one team and one request can use, and what happens to abandoned reads.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use db_test::db_test;
use futures_util::{StreamExt as _, future::join_all};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement, StreamTrait as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tollgate::{
    app::App,
    db::{ReadBudget, Readers, Scope},
};
use uuid::Uuid;

use crate::harness::{Apps, Setup, TestApp};

/// Returns the number of read connections.
fn connections(t: &TestApp) -> usize {
    if t.app.db.backend() == DbBackend::Postgres { 8 } else { 4 }
}

fn statement(t: &TestApp, sql: &str) -> Statement {
    Statement::from_string(t.app.db.backend(), sql)
}

fn team(n: u128) -> Scope {
    Scope::Account { team_id: Uuid::from_u128(n), account_id: Uuid::from_u128(n) }
}

fn request(app: &App) -> App {
    app.for_request(ReadBudget::new(|_| {}, None), "")
}

async fn reads(t: &TestApp, readers: &Readers) {
    readers.query_one_raw(statement(t, "SELECT 1")).await.expect("the read succeeds");
}

/// Starts a read with each of these readers without reading all rows, so that each read keeps a connection. Returns the
/// unfinished reads.
macro_rules! held {
    ($t:expr, $readers:expr) => {{
        let t = $t;
        join_all($readers.iter().map(|readers| async move {
            let mut rows = readers.stream_raw(statement(t, MANY)).await.expect("the read succeeds");
            rows.next().await.expect("a row").expect("a row");
            rows
        }))
        .await
    }};
}

const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                    WHERE i < 1000000) SELECT i FROM n";

/// The reads of other teams are not affected.
#[db_test]
async fn one_team_uses_at_most_half_of_the_connections_that_read(t: &TestApp) {
    let half = connections(t) / 2;
    let requests: Vec<App> = (0..=half).map(|_| request(&t.app)).collect();
    let readers: Vec<Readers> = requests.iter().map(|app| app.read_as(team(1))).collect();
    let (late, readers) = readers.split_last().expect("one more than half");
    let mut streams = held!(t, readers);

    let mut late = Box::pin(reads(t, late));
    let others = async {
        for scope in [team(2), team(3), Scope::All] {
            reads(t, &request(&t.app).read_as(scope)).await;
        }
        // Reads by the server itself are not limited, even if they read data of the same team.
        reads(t, &t.app.db.read).await;
        reads(t, &t.app.read_as(team(1))).await;
    };
    tokio::select! {
        biased;
        () = &mut late => panic!("the team has half of the connections"),
        () = others => {}
    }
    drop(streams.pop());
    late.await;
}

/// A team can use the other half of the connections.
#[db_test]
async fn operators_together_use_at_most_half_of_the_connections_that_read(t: &TestApp) {
    let half = connections(t) / 2;
    let requests: Vec<App> = (0..=half).map(|_| request(&t.app)).collect();
    let readers: Vec<Readers> = requests.iter().map(|app| app.read_as(Scope::All)).collect();
    let (late, readers) = readers.split_last().expect("one more than half");
    let streams = held!(t, readers);

    let mut late = Box::pin(reads(t, late));
    tokio::select! {
        biased;
        () = &mut late => panic!("operators have half of the connections"),
        () = async { reads(t, &request(&t.app).read_as(team(1))).await } => {}
    }
    drop(streams);
    late.await;
}

/// Other requests of the team can use the rest of the team's half of the connections.
#[db_test]
async fn one_request_uses_at_most_two_connections_that_read(t: &TestApp) {
    let app = request(&t.app);
    let readers: Vec<Readers> = (0..3).map(|_| app.read_as(team(1))).collect();
    let (late, readers) = readers.split_last().expect("three");
    let streams = held!(t, readers);

    let mut late = Box::pin(reads(t, late));
    let sibling = request(&t.app);
    let sibling = sibling.read_as(if connections(t) > 4 { team(1) } else { team(2) });
    tokio::select! {
        biased;
        () = &mut late => panic!("the request has two connections"),
        () = reads(t, &sibling) => {}
    }
    drop(streams);
    late.await;
}

#[db_test]
async fn writes_of_one_team_wait_for_each_other_and_not_for_other_teams(t: &TestApp) {
    let (hot, other) = (t.team(1_000).await, t.team(1_000).await);
    // Two connections are reserved for the worker.
    let is_postgres = t.app.db.backend() == DbBackend::Postgres;
    let half = if is_postgres { (connections(t) - 2).div_ceil(2) } else { 1 };
    let scope = Scope::Account {
        team_id: hot.id.parse().expect("an id"),
        account_id: hot.main_account_id.parse().expect("an id"),
    };
    let mut turns = Vec::new();
    for _ in 0..half {
        turns.push(t.app.db.write_slot(scope).await.expect("a turn"));
    }
    let create = "mutation { createContact(input: { addresses: [{ channel: SMS, address: \"+12025550100\" }] }) { contact { id } } }";

    let mut late = Box::pin(t.ask(&hot.key, create));
    tokio::select! {
        biased;
        answer = &mut late => panic!("the team has its turns: {}", answer.body),
        answer = t.ask(&other.key, create) => assert_eq!(answer.codes(), [""; 0], "{}", answer.body),
    }
    drop(turns);
    let answer = late.await;
    assert_eq!(answer.codes(), [""; 0], "{}", answer.body);
}

#[db_test]
async fn a_request_with_thirty_lists_is_answered_two_lists_at_a_time(t: &TestApp) {
    let team = t.team(1_000).await;
    t.contact(&team.key, &["+12025550100"]).await;
    let field =
        |n: usize| format!("c{n}: contacts(first: 1) {{ nodes {{ addresses {{ id }} tags }} }}");
    let document = (0..30).map(field).collect::<Vec<_>>().join(" ");
    let document = &format!("{{ {document} }}");
    let requests = (0..20).map(|_| t.ask(&team.key, document));
    for answer in join_all(requests).await {
        assert_eq!(answer.codes(), [""; 0], "{}", answer.body);
        assert_eq!(answer.data().as_object().map(serde_json::Map::len), Some(30));
    }
}

#[db_test]
async fn an_abandoned_read_ends_soon_and_its_time_counts_for_the_rate(t: &TestApp) {
    let backend = t.app.db.backend();
    let charged = Arc::new(Mutex::new(Vec::new()));
    let (gone, charges) = (CancellationToken::new(), Arc::clone(&charged));
    let charge = move |time| charges.lock().expect("no panic").push(time);
    let app = t.app.for_request(ReadBudget::new(charge, Some(gone.clone())), "");
    let readers = app.read_as(team(1));
    // If the read did not end when abandoned, this statement would run for hours and keep a snapshot open.
    let endless = match backend {
        DbBackend::Postgres => "SELECT pg_sleep(10000)",
        _ => {
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) \
             SELECT COUNT(*) FROM n, team"
        }
    };
    reads(t, &readers).await;
    assert_eq!(charged.lock().expect("no panic").len(), 1);
    t.team(1_000).await;

    let mut endless = Box::pin(readers.query_one_raw(statement(t, endless)));
    tokio::select! {
        biased;
        done = &mut endless => panic!("it has ended: {done:?}"),
        () = is_seen(t, true) => {}
    }
    gone.cancel();
    let refused = endless.await.expect_err("nobody waits");

    assert!(tollgate::domain::Fault::from(refused).is_unavailable());
    let times = charged.lock().expect("no panic").clone();
    assert_eq!(times.len(), 2);
    assert!(times[1] >= Duration::from_millis(250), "{times:?}");
    is_seen(t, false).await;
    reads(t, &t.app.db.read).await;
}

/// Waits until the endless statement runs or, if `is_expected` is false, until the statement no longer runs. On SQLite,
/// the statement is running if the write-ahead log cannot be copied to the database completely.
async fn is_seen(t: &TestApp, is_expected: bool) {
    loop {
        let is_at_work = if t.app.db.backend() == DbBackend::Postgres {
            let at_work = "SELECT COUNT(*) FROM pg_stat_activity WHERE state = 'active' \
                               AND datname = current_database() AND query LIKE '%pg_sleep(%' \
                               AND pid <> pg_backend_pid()";
            t.number(at_work).await > 0
        } else {
            // Makes a change that is newer than the snapshot of the endless statement.
            t.execute("UPDATE team SET name = name || 'x'").await;
            let copied = statement(t, "PRAGMA wal_checkpoint(PASSIVE)");
            let row = t.app.db.write.query_one_raw(copied).await.expect("the log");
            let row = row.expect("a row");
            let frames = |at| row.try_get_by_index::<i32>(at).expect("a number");
            frames(2) < frames(1)
        };
        if is_at_work == is_expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Changes the statement that reads opt-outs so that the statement is slow on both databases.
fn slowed(sql: &str) -> String {
    let slow = if sql.contains('$') {
        "(SELECT pg_sleep(1)::text) IS NOT NULL"
    } else {
        "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400000) \
         SELECT COUNT(*) FROM n) > 0"
    };
    sql.replace("FROM \"opt_out\" WHERE", &format!("FROM \"opt_out\" WHERE {slow} AND"))
}

/// The time that reads take counts towards the rate limit, even if the estimated cost of each request is small. Other
/// API keys are not affected.
#[db_test]
async fn the_time_of_reads_counts_for_the_rate_limit(apps: &Apps) {
    let http = tollgate::http::Settings { account_rate: 0, ..Default::default() };
    let setup = Setup { rewrite_sql: Some(slowed), http, ..Setup::default() };
    let t = apps.start_with(setup).await;
    let team = t.team(1_000).await;
    let sibling = t.api_key(&team, &team.main_account_id, "LIVE").await;
    t.opt_out(&team.key, "+12025550100").await;
    let query = "{ a: optOuts { nodes { id } } b: optOuts { nodes { id } } }";
    let mut rounds = 0;
    let refused = loop {
        let answers = join_all((0..4).map(|_| t.ask(&team.key, query))).await;
        let refused = answers.into_iter().find(|answer| answer.codes() == ["RATE_LIMITED"]);
        if let Some(refused) = refused {
            break refused;
        }
        rounds += 1;
        assert!(rounds < 100, "it is not limited");
    };

    assert_eq!((refused.status.as_u16(), refused.codes()), (429, vec!["RATE_LIMITED"]));
    let wait = &refused.body["errors"][0]["extensions"]["retryAfterSeconds"];
    assert!((1..=11).contains(&wait.as_u64().expect("a number")), "{wait}");
    assert_eq!(t.ask(&sibling, "{ account { name } }").await.codes(), [""; 0]);
}

/// The number of connections is limited for each request separately, so the requests do not block each other.
#[db_test]
async fn lists_of_many_concurrent_clients_are_answered(t: &TestApp) {
    let team = t.team(1_000).await;
    for n in 0..5 {
        t.sub_account(&team, json!({ "name": format!("Sub {n}") })).await;
    }
    let query = "{ subAccounts(first: 5) { nodes { name apiKeys(first: 1) { totalCount } usage { \
                 totals { spent } } } } ledger { totalCount } balance { balance } }";
    for _ in 0..3 {
        for answer in join_all((0..90).map(|_| t.ask(&team.key, query))).await {
            assert_eq!(answer.codes(), [""; 0], "{}", answer.body);
        }
    }
}
