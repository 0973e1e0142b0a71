//! The queue of the billing writer: the limit of the queue, clients that disconnect while a message is in the queue,
//! and a server that stops.

use std::{sync::Arc, time::Duration};

use db_test::db_test;
use serde_json::json;
use tollgate::domain::billing::WAITING_OF_TEAM_MAX;

use super::{SEND_MANY, all, hundred, send_at_once};
use crate::harness::{Apps, Setup, TestApp};

/// If a writer has already taken the message from the queue, the message is charged. A repeat with the same idempotency
/// key then returns the message.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_disconnects_before_its_message_is_taken_is_not_charged(t: &Arc<TestApp>) {
    let team = t.team(1_000).await;
    assert!(t.sends(&team.key).await, "the writer's connection is open");
    let keyed = |key: &str| json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": key });
    let send = |key: &'static str| {
        let (t, own, input) = (Arc::clone(t), team.key.clone(), keyed(key));
        tokio::spawn(async move { t.send(&own, input).await })
    };

    let txn = t.lock_team(&team).await;
    let taken = send("taken");
    while t.app.writers.taken().batches < 2 {
        tokio::task::yield_now().await;
    }
    let waiting = send("waiting");
    while t.app.writers.waiting() < 1 {
        tokio::task::yield_now().await;
    }
    taken.abort();
    waiting.abort();
    assert!(taken.await.is_err() && waiting.await.is_err(), "both clients have disconnected");
    txn.rollback().await.expect("the lock is released");
    assert!(t.sends(&team.key).await, "the writer still works");

    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 3);
    for (key, replayed) in [("taken", true), ("waiting", false)] {
        let answer = t.send(&team.key, keyed(key)).await;
        assert_eq!(answer.data()["sendMessage"]["replayed"], replayed, "{key}");
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 4);
}

/// One team can use at most half of the queue.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_whole_calls_and_leaves_room_for_other_teams(apps: &Apps) {
    // The deadline is long, so that the writer still waits for the lock when the queue is full, even on a slow machine.
    let setup = Setup { batch_deadline: Some(Duration::from_mins(10)), ..Setup::default() };
    let t = apps.start_with(setup).await;
    let (team, other) = (t.team(1_000_000).await, t.team(1_000).await);
    assert!(t.sends(&team.key).await && t.sends(&other.key).await, "the connections are open");
    let txn = t.lock_team(&team).await;
    let first = send_at_once(&t, &team.key, 1);
    while t.app.writers.taken().batches < 3 {
        tokio::task::yield_now().await;
    }

    let calls = WAITING_OF_TEAM_MAX / 100;
    let filling: Vec<_> = (0..calls)
        .map(|call| {
            let (t, key) = (Arc::clone(&t), team.key.clone());
            let variables = hundred(&format!("call-{call}"));
            tokio::spawn(async move { t.ask_with(&key, SEND_MANY, variables).await })
        })
        .collect();
    while t.app.writers.waiting() < calls * 100 {
        tokio::task::yield_now().await;
    }
    let refused = t.ask_with(&team.key, SEND_MANY, hundred("late")).await;
    let payloads = refused.data()["sendMessages"].as_array().expect("a list").clone();
    let mut last = hundred("last");
    last["input"].as_array_mut().expect("a list").truncate(WAITING_OF_TEAM_MAX % 100);
    let (rest_t, key) = (Arc::clone(&t), team.key.clone());
    let rest = tokio::spawn(async move { rest_t.ask_with(&key, SEND_MANY, last).await });
    while t.app.writers.waiting() < WAITING_OF_TEAM_MAX {
        tokio::task::yield_now().await;
    }
    let single = t.send(&team.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    let others = send_at_once(&t, &other.key, 1);
    txn.rollback().await.expect("the lock is released");

    assert_eq!(payloads.len(), 100);
    assert!(payloads.iter().all(|payload| payload["errors"][0]["code"] == "OVERLOADED"));
    assert_eq!(single.codes(), ["UNAVAILABLE"]);
    assert_eq!(single.body["errors"][0]["extensions"]["retryAfterSeconds"], 1);
    for answer in all(filling.into_iter().chain([rest])).await {
        let payloads = answer.data()["sendMessages"].as_array().expect("a list").clone();
        assert!(payloads.iter().all(|payload| payload["errors"] == json!([])));
    }
    for answer in [all(first).await, all(others).await].into_iter().flatten() {
        assert_eq!(answer.refusals(), [""; 0]);
    }
    let expected = i64::try_from(WAITING_OF_TEAM_MAX).expect("a small number") + 4;
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, expected);
}

#[db_test]
async fn a_call_sends_0_to_100_messages(t: &TestApp) {
    let team = t.team(1_000).await;

    let none = t.ask_with(&team.key, SEND_MANY, json!({ "input": [] })).await;
    assert_eq!(none.data()["sendMessages"], json!([]));
    let before = t.everything().await;
    let mut many = hundred("many");
    let one_more = many["input"][0].clone();
    many["input"].as_array_mut().expect("a list").push(one_more);
    assert_eq!(t.ask_with(&team.key, SEND_MANY, many).await.codes(), ["BAD_USER_INPUT"]);
    assert_eq!(t.everything().await, before);
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_writer_completes_waiting_messages_and_takes_no_new_ones(t: &Arc<TestApp>) {
    let team = t.team(1_000).await;
    assert!(t.sends(&team.key).await, "the writer's connection is open");
    let txn = t.lock_team(&team).await;
    let first = send_at_once(t, &team.key, 1);
    while t.app.writers.taken().batches < 2 {
        tokio::task::yield_now().await;
    }
    let waiting = send_at_once(t, &team.key, 20);
    while t.app.writers.waiting() < 20 {
        tokio::task::yield_now().await;
    }

    let closing = {
        let t = Arc::clone(t);
        tokio::spawn(async move { t.app.writers.close().await })
    };
    while !t.app.writers.are_closed() {
        tokio::task::yield_now().await;
    }
    let late = t.send(&team.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    txn.rollback().await.expect("the lock is released");
    closing.await.expect("the writer ends");

    assert_eq!(late.codes(), ["UNAVAILABLE"]);
    for answer in [all(first).await, all(waiting).await].into_iter().flatten() {
        assert_eq!(answer.refusals(), [""; 0]);
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 22);
}
