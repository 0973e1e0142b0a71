//! Refunds of failed messages: once and in full.

use std::sync::Arc;

use db_test::db_test;
use futures_util::future::join_all;
use serde_json::json;

use super::MICROS_PER_CENT;
use crate::harness::TestApp;

/// A refund also decreases the total spent. An account that has reached its limit may therefore be unblocked.
#[db_test]
async fn a_failed_message_is_refunded_once_and_in_full(t: &TestApp) {
    t.set_sms_price(10 * MICROS_PER_CENT).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 10 })).await;
    let sent = t.send(&sub.key, json!({ "to": "+15005550001", "text": "Hi" })).await;
    assert_eq!(sent.refusals(), [""; 0]);
    assert!(!t.sends(&sub.key).await, "the limit is reached until the refund");

    t.deliver().await;

    let answer = t
        .ask(
            &sub.key,
            "{ messages { nodes { status cost refundedAt errorCode } } account { totalSpent } \
             balance { balance } ledger { nodes { kind amount balanceAfter } } }",
        )
        .await;
    let message = &answer.data()["messages"]["nodes"][0];
    assert_eq!(message["status"], "FAILED");
    assert_eq!(message["cost"], 10);
    assert_eq!(message["errorCode"], "SANDBOX_REJECTED");
    assert_eq!(message["refundedAt"], "2026-03-16T12:00:00.000Z");
    assert_eq!(answer.data()["account"]["totalSpent"], 0);
    assert_eq!(answer.data()["balance"]["balance"], 100);
    assert_eq!(
        answer.data()["ledger"]["nodes"],
        json!([
            { "kind": "REFUND", "amount": 10, "balanceAfter": 100 },
            { "kind": "CHARGE", "amount": -10, "balanceAfter": 90 },
        ])
    );
    assert!(t.sends(&sub.key).await);
}

/// A unique index refuses a second charge or refund, even if the program tries to write one.
#[db_test]
async fn the_database_refuses_a_second_charge_or_refund_of_a_message(t: &TestApp) {
    let team = t.team(100).await;
    t.send(&team.key, json!({ "to": "+15005550001", "text": "Hi" })).await;
    t.deliver().await;
    let before = t.everything().await;

    for kind in ["REFUND", "CHARGE"] {
        let copy = format!(
            "INSERT INTO ledger_entry SELECT l.account_id, l.team_id, l.account_id, l.message_id, \
             l.kind, l.amount_micros, l.balance_after_micros, NULL, NULL, l.created_at \
             FROM ledger_entry l WHERE l.kind = '{kind}'"
        );
        let copied = sea_orm::ConnectionTrait::execute_unprepared(&t.app.db.write, &copy).await;
        assert!(copied.is_err(), "a second {kind} was written");
    }

    assert_eq!(t.everything().await, before);
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_workers_refund_each_message_once(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    for _ in 0..10 {
        t.send(&sub.key, json!({ "to": "+15005550001", "text": "Hi" })).await;
    }

    let workers = (0..4).map(|_| {
        let app = Arc::clone(&t.app);
        tokio::spawn(async move { tollgate::worker::deliver_due(&app).await })
    });
    for settled in join_all(workers).await {
        settled.expect("the worker ends").expect("the messages are settled");
    }

    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'REFUND'").await, 10);
    assert_eq!(t.number("SELECT balance_micros FROM team").await, 1000 * MICROS_PER_CENT);
}

#[db_test]
async fn a_top_up_leaves_room_for_pending_refunds_below_the_maximum_balance(t: &TestApp) {
    let team = t.team(100_000_000_000).await;
    t.send(&team.key, json!({ "to": "+15005550001", "text": "Hi" })).await;
    let before = t.everything().await;

    let refused = t.top_up(&team, json!(0.83), "refill").await;
    assert_eq!(refused.refusals(), ["AMOUNT_INVALID"]);
    assert_eq!(t.everything().await, before);
    // The top-up is refused although the current balance is low, because the waiting message may be refunded and the
    // balance would then exceed the maximum.
    t.set_sms_price(1_000_000_000_000_000).await;
    let rich = t.team(100_000_000_000).await;
    t.send(&rich.key, json!({ "to": "+15005550001", "text": "Hi" })).await;
    assert_eq!(t.top_up(&rich, json!(1), "refill").await.refusals(), ["AMOUNT_INVALID"]);
    t.deliver().await;

    let at_the_bound = "SELECT COUNT(*) FROM team WHERE balance_micros = 1000000000000000";
    assert_eq!(t.number(at_the_bound).await, 2);
}
