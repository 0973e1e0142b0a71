//! Delivery: the states of a message, suspended accounts, and recovery after a crash.

use std::sync::{Arc, atomic::Ordering};

use chrono::TimeDelta;
use db_test::db_test;
use futures_util::future::join_all;
use serde_json::json;
use tollgate::{domain::message::delivery, worker};

use crate::harness::TestApp;

async fn status(t: &TestApp, key: &str) -> String {
    let answer = t.ask(key, "{ messages(first: 1) { nodes { status } } }").await;
    answer.data()["messages"]["nodes"][0]["status"].as_str().expect("a status").to_owned()
}

#[db_test]
async fn a_message_goes_from_queued_to_delivered(t: &TestApp) {
    let team = t.team(1000).await;
    assert!(t.sends(&team.key).await);

    let mut seen = vec![status(t, &team.key).await];
    let claimed = delivery::claim(&t.app).await.expect("the messages are claimed").messages;
    seen.push(status(t, &team.key).await);
    let sent = claimed.into_iter().map(|claimed| (claimed, delivery::Outcome::Sent)).collect();
    delivery::settle(&t.app, sent).await.expect("the messages are settled");
    seen.push(status(t, &team.key).await);
    t.step(TimeDelta::seconds(1));
    t.deliver_due().await;
    seen.push(status(t, &team.key).await);

    assert_eq!(seen, ["QUEUED", "SENDING", "SENT", "DELIVERED"]);
}

/// Messages that are undelivered or have an unknown result are not refunded, because the carrier accepted them.
#[db_test]
async fn undelivered_and_unknown_messages_stay_charged(t: &TestApp) {
    let team = t.team(1000).await;
    for (to, expected, code) in [
        ("+15005550002", "UNDELIVERED", "SANDBOX_UNDELIVERED"),
        ("+15005550003", "UNKNOWN", "SANDBOX_NO_ANSWER"),
    ] {
        t.send(&team.key, json!({ "to": to, "text": "Hi" })).await;
        t.deliver().await;
        let answer = t
            .ask(&team.key, "{ messages(first: 1) { nodes { status errorCode refundedAt } } }")
            .await;
        assert_eq!(
            answer.data()["messages"]["nodes"][0],
            json!({ "status": expected, "errorCode": code, "refundedAt": null })
        );
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'REFUND'").await, 0);
}

#[db_test]
async fn messages_of_a_suspended_account_are_sent_after_its_reactivation(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    assert!(t.sends(&sub.key).await);
    t.change_status(&team, &sub.id, "suspendSubAccount").await;

    t.deliver().await;
    assert_eq!(status(t, &sub.key).await, "QUEUED");
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0);

    t.change_status(&team, &sub.id, "reactivateSubAccount").await;
    t.deliver().await;
    assert_eq!(status(t, &sub.key).await, "DELIVERED");
}

/// The submission is repeated after the lease of the interrupted worker has expired.
#[db_test]
async fn an_interrupted_submission_is_repeated_only_if_no_recipient_can_receive_it_twice(
    t: &TestApp,
    #[values((true, "UNKNOWN", 0), (false, "DELIVERED", 1))] case: (bool, &str, usize),
) {
    let (reaches_people, expected, hand_overs) = case;
    t.carrier.reaches_people.store(reaches_people, Ordering::Relaxed);
    let team = t.team(1000).await;
    assert!(t.sends(&team.key).await);
    // A worker claims the message, and the worker's process ends before the message is settled.
    assert_eq!(delivery::claim(&t.app).await.expect("the messages are claimed").messages.len(), 1);

    assert_eq!(t.deliver_due().await, 0);
    t.step(TimeDelta::seconds(61));
    t.deliver().await;

    assert_eq!(status(t, &team.key).await, expected);
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), hand_overs);
}

#[db_test]
async fn a_worker_whose_lease_expired_settles_nothing(t: &TestApp) {
    let team = t.team(1000).await;
    t.send(&team.key, json!({ "to": "+15005550001", "text": "Hi" })).await;
    let late = delivery::claim(&t.app).await.expect("the messages are claimed").messages;
    t.step(TimeDelta::seconds(61));
    t.deliver().await;
    let before = t.everything().await;

    let rejected =
        || delivery::Outcome::Failed { code: "LATE".to_owned(), text: "Late.".to_owned() };
    let late = late.into_iter().map(|claimed| (claimed, rejected())).collect();
    delivery::settle(&t.app, late).await.expect("the messages are settled");

    assert_eq!(t.everything().await, before);
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_workers_submit_each_message_once(t: &TestApp) {
    let team = t.team(10_000).await;
    for _ in 0..30 {
        assert!(t.sends(&team.key).await);
    }

    let workers = (0..4).map(|_| {
        let app = Arc::clone(&t.app);
        tokio::spawn(async move { worker::deliver_due(&app).await })
    });
    for delivered in join_all(workers).await {
        delivered.expect("the worker ends").expect("the worker delivers");
    }
    t.deliver().await;

    let mut sent = t.carrier.sent.lock().expect("the record").clone();
    assert_eq!(sent.len(), 30);
    sent.sort_unstable();
    sent.dedup();
    assert_eq!(sent.len(), 30, "a message was submitted twice");
}
