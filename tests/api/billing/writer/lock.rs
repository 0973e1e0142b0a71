//! A send that waits for a team's lock sees every change committed before it gets the lock.

use std::sync::Arc;

use db_test::db_test;
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use tollgate::domain::billing::Statements;

use super::{SEND_MANY, all, codes, hundred, send_at_once};
use crate::harness::{Apps, Setup, TestApp, TestTeam};

/// Waits until a writer is waiting for the lock. SQLite does not show whether a lock is waited for, so on SQLite the
/// function only gives other tasks enough time to run.
async fn until_a_writer_waits(t: &TestApp) {
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock'";
    let is_postgres = t.app.db.backend() == sea_orm::DbBackend::Postgres;
    for _ in 0..1_000 {
        if is_postgres && t.number(waits).await > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    assert!(!is_postgres, "no writer waits for the lock");
}

/// The test covers the fast path (one message) and a batch (several messages).
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_send_is_judged_by_what_was_committed_before_its_turn(
    t: &Arc<TestApp>,
    #[values(1, 2, 7)] count: usize,
    #[values(
        ("UPDATE api_key SET revoked_at = created_at WHERE id = '{key}'", "UNAUTHENTICATED"),
        ("UPDATE api_key SET grace_ends_at = created_at WHERE id = '{key}'", "UNAUTHENTICATED"),
        ("UPDATE account SET credit_limit_micros = 0 WHERE id = '{account}'", "CREDIT_LIMIT_REACHED"),
        ("UPDATE account SET status = 'SUSPENDED' WHERE id = '{account}'", "ACCOUNT_SUSPENDED"),
        (
            "INSERT INTO opt_out (id, team_id, account_id, channel, address, source, created_at) \
             SELECT id, team_id, id, 'SMS', '+12025550123', 'API', created_at FROM account \
             WHERE id = '{account}'",
            "OPTED_OUT",
        )
    )]
    change: (&str, &str),
) {
    let team = t.team(1_000).await;

    let codes = codes_of_sends_that_waited(t, &team, change.0, count).await;

    // If the key was revoked, the whole call fails with a single code.
    assert!(!codes.is_empty() && codes.iter().all(|code| code == change.1), "{codes:?}");
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 1);
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 1);
}

/// This test shows that the test above would fail without the lock.
#[db_test(postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_lock_a_revoked_key_is_charged(apps: &Apps) {
    let mut texts = Statements::of(sea_orm::DbBackend::Postgres);
    assert!(texts.lock_teams.ends_with(" FOR UPDATE"));
    texts.lock_teams = texts.lock_teams.trim_end_matches(" FOR UPDATE");
    let setup = Setup { statements: Some(texts), ..Setup::default() };
    let t = apps.start_with(setup).await;
    let team = t.team(1_000).await;

    let revoke = "UPDATE api_key SET revoked_at = created_at WHERE id = '{key}'";
    let codes = codes_of_sends_that_waited(&t, &team, revoke, 7).await;

    assert!(codes.contains(&String::new()), "{codes:?}");
}

/// Locks the team, sends messages that have to wait for the lock, makes a change, and releases the lock. Returns the
/// code of each message, which is empty for an accepted message.
async fn codes_of_sends_that_waited(
    t: &Arc<TestApp>,
    team: &TestTeam,
    change: &str,
    count: usize,
) -> Vec<String> {
    let sub = t.sub_account(team, json!({})).await;
    assert!(t.sends(&sub.key).await, "the writer's connection is open");
    let txn = t.lock_team(team).await;
    let sends: Vec<_> = if count > 2 {
        // One call with several messages makes one batch.
        let mut variables = hundred("batch");
        variables["input"].as_array_mut().expect("a list").truncate(count);
        let (t, key) = (Arc::clone(t), sub.key.clone());
        vec![tokio::spawn(async move { t.ask_with(&key, SEND_MANY, variables).await })]
    } else {
        send_at_once(t, &sub.key, count)
    };
    until_a_writer_waits(t).await;
    let id = |id: &str| match t.app.db.backend() {
        sea_orm::DbBackend::Postgres => format!("'{id}'"),
        _ => format!("x'{}'", id.replace('-', "")),
    };
    let sql = change.replace("'{key}'", &id(&sub.key_id)).replace("'{account}'", &id(&sub.id));
    txn.execute_unprepared(&sql).await.expect("the change is made");
    txn.commit().await.expect("the change is committed");
    all(sends).await.iter().flat_map(codes).collect()
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_send_can_use_a_limit_or_top_up_committed_before_its_turn(
    t: &Arc<TestApp>,
    #[values(1, 7)] count: usize,
) {
    t.set_sms_price(10_000).await;
    let team = t.team(1).await;
    assert!(t.sends(&team.key).await, "the balance pays for one");

    let txn = t.lock_team(&team).await;
    let sends = send_at_once(t, &team.key, count);
    until_a_writer_waits(t).await;
    txn.rollback().await.expect("the lock is released");
    let refused = all(sends).await;
    assert!(refused.iter().all(|answer| answer.refusals() == ["INSUFFICIENT_BALANCE"]));

    assert_eq!(t.top_up(&team, json!(count), "refill").await.refusals(), [""; 0]);
    let accepted = all(send_at_once(t, &team.key, count + 3)).await;
    let accepted = accepted.iter().filter(|answer| answer.refusals().is_empty()).count();
    assert_eq!(accepted, count);
}
