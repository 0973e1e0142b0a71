//! Canceling messages. A message can be canceled until a worker claims it, and is refunded only once.

use std::{collections::BTreeSet, sync::Arc};

use axum::http::StatusCode;
use chrono::TimeDelta;
use db_test::db_test;
use futures_util::future::join_all;
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use tollgate::domain::message::delivery;

use super::{cancel, noon, read, send, status};
use crate::harness::{TestApp, UNKNOWN_IDS};

/// A repeated cancelation returns the same message and changes nothing.
#[db_test]
async fn a_message_can_be_canceled_until_a_worker_claims_it(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let scheduled = send(t, &sub.key, json!({ "sendAt": noon(TimeDelta::days(1)) })).await;
    let queued = send(t, &sub.key, json!({})).await;
    t.step(TimeDelta::minutes(1));
    for id in [&scheduled, &queued] {
        let answer = cancel(t, &sub.key, id).await;
        let at = noon(TimeDelta::minutes(1));
        let message = json!({
            "id": id, "status": "CANCELED", "refundedAt": at, "errorCode": "CANCELED", "cost": 1,
        });
        assert_eq!(answer.data()["cancelMessage"], json!({ "message": message, "errors": [] }));

        let before = t.everything().await;
        t.step(TimeDelta::minutes(1));
        assert_eq!(cancel(t, &sub.key, id).await.body, answer.body);
        assert_eq!(t.everything().await, before);
        t.step(-TimeDelta::minutes(1));
    }
    t.step(TimeDelta::days(2));
    t.deliver().await;

    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0);
    assert_eq!(t.balance(&team).await, 100);
    let query = "{ account { totalSpent usage { totals { messages failed charged refunded } } } }";
    let totals = json!({ "messages": 2, "failed": 2, "charged": 2, "refunded": 2 });
    let account = json!({ "totalSpent": 0, "usage": { "totals": totals } });
    assert_eq!(t.ask(&sub.key, query).await.data()["account"], account);
}

#[db_test]
async fn a_claimed_or_ended_message_is_not_canceled(t: &TestApp) {
    let team = t.team(1_000).await;
    let expect = async |id: &str, is: &str, code: &str| {
        assert_eq!(status(t, &team.key, id).await, is);
        let before = t.everything().await;
        let refused = cancel(t, &team.key, id).await;
        assert_eq!(refused.refusals(), [code], "{is}");
        let payload = &refused.data()["cancelMessage"];
        assert_eq!(
            [&payload["message"], &payload["errors"][0]["field"]],
            [&json!(null), &json!(["id"])]
        );
        assert_eq!(t.everything().await, before, "{is}");
    };

    let id = send(t, &team.key, json!({})).await;
    let claimed = delivery::claim(&t.app).await.expect("the messages are claimed").messages;
    expect(&id, "SENDING", "ALREADY_SENT").await;
    let sent = claimed.into_iter().map(|claimed| (claimed, delivery::Outcome::Sent)).collect();
    delivery::settle(&t.app, sent).await.expect("the messages are settled");
    expect(&id, "SENT", "ALREADY_SENT").await;
    t.step(TimeDelta::seconds(1));
    t.deliver().await;
    expect(&id, "DELIVERED", "ALREADY_SENT").await;
    for (to, is, code) in [
        ("+15005550001", "FAILED", "ALREADY_ENDED"),
        ("+15005550002", "UNDELIVERED", "ALREADY_SENT"),
        ("+15005550003", "UNKNOWN", "ALREADY_SENT"),
    ] {
        let id = send(t, &team.key, json!({ "to": to })).await;
        t.deliver().await;
        expect(&id, is, code).await;
    }
    let until = json!({ "validUntil": noon(TimeDelta::minutes(10)) });
    let id = send(t, &team.key, until).await;
    t.step(TimeDelta::minutes(10));
    t.deliver().await;
    expect(&id, "EXPIRED", "ALREADY_ENDED").await;
}

/// The cancelation also needs a key of the message's environment.
#[db_test]
async fn only_the_account_of_a_message_can_cancel_it(t: &TestApp) {
    let (team, other) = (t.team(1_000).await, t.team(1_000).await);
    let sub = t.sub_account(&team, json!({})).await;
    let sibling = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &sub.id, "TEST").await;
    let at = json!({ "sendAt": noon(TimeDelta::minutes(10)) });
    let id = send(t, &sub.key, at.clone()).await;
    let of_test = send(t, &test, at).await;
    let before = t.everything().await;

    for key in [&team.key, &sibling.key, &test, &other.key] {
        let mut answers = Vec::new();
        for id in [&id[..], UNKNOWN_IDS[0], UNKNOWN_IDS[1], ""] {
            // The cache of keys is cleared, so that each call reads the key and the numbers of statements can be
            // compared.
            t.app.keys.forget_all();
            let counted = t.statements();
            let answer = cancel(t, key, id).await;
            assert_eq!(answer.refusals(), ["NOT_FOUND"]);
            answers.push((answer.body.to_string(), t.statements() - counted));
        }
        assert_eq!(answers.iter().collect::<BTreeSet<_>>().len(), 1, "{answers:?}");
    }
    assert_eq!(cancel(t, &sub.key, &of_test).await.refusals(), ["NOT_FOUND"]);
    assert_eq!(cancel(t, &t.operator, &id).await.codes(), ["FORBIDDEN"]);
    assert_eq!(t.everything().await, before);

    let canceled = cancel(t, &test, &of_test).await;
    assert_eq!(canceled.data()["cancelMessage"]["message"]["status"], "CANCELED");
    assert_eq!(canceled.data()["cancelMessage"]["message"]["refundedAt"], json!(null));
    assert_eq!(t.refunds().await, 0);
}

#[db_test]
async fn a_deactivation_cancels_scheduled_messages_too(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let scheduled = send(t, &sub.key, json!({ "sendAt": noon(TimeDelta::minutes(10)) })).await;
    send(t, &sub.key, json!({})).await;

    t.change_status(&team, &sub.id, "deactivateSubAccount").await;
    t.change_status(&team, &sub.id, "reactivateSubAccount").await;
    t.step(TimeDelta::minutes(10));
    assert_eq!(t.deliver_due().await, 0);
    assert_eq!(t.run_backlog().await, 1);

    let key = t.api_key(&team, &sub.id, "LIVE").await;
    let canceled = json!({ "status": "CANCELED", "refundedAt": noon(TimeDelta::minutes(10)), "errorCode": "ACCOUNT_INACTIVE" });
    assert_eq!(read(t, &key, &scheduled).await, canceled);
    assert_eq!(t.balance(&team).await, 100);
    assert_eq!(t.refunds().await, 2);
}

#[db_test]
async fn a_message_canceled_while_a_worker_is_expiring_it_stays_canceled(t: &TestApp) {
    let team = t.team(1_000).await;
    let id = send(t, &team.key, json!({ "validUntil": noon(TimeDelta::seconds(30)) })).await;
    t.step(TimeDelta::seconds(30));
    let claimed = delivery::claim(&t.app).await.expect("the messages are claimed").messages;
    assert_eq!(claimed.len(), 1);
    assert_eq!(cancel(t, &team.key, &id).await.refusals(), [""; 0]);
    let after = t.everything().await;

    let late = claimed.into_iter().map(|claimed| (claimed, delivery::Outcome::Expired)).collect();
    delivery::settle(&t.app, late).await.expect("the messages are settled");

    assert_eq!(t.everything().await, after);
    assert_eq!(status(t, &team.key, &id).await, "CANCELED");
    assert_eq!(t.refunds().await, 1);
}

/// The claim is committed after the cancelation has read the message and before the cancelation is written. This order
/// is possible only on PostgreSQL.
#[db_test(postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_committed_during_a_cancelation_wins(t: &Arc<TestApp>) {
    let team = t.team(1_000).await;
    let id = send(t, &team.key, json!({})).await;
    let claim = t.app.db.begin_write().await.expect("a transaction begins");
    let sql = "UPDATE message SET status = 'SENDING', lease_id = gen_random_uuid(), \
               due_at = due_at + INTERVAL '1 minute'";
    claim.execute_unprepared(sql).await.expect("the messages are claimed");

    let canceler = {
        let (t, key, id) = (Arc::clone(t), team.key.clone(), id.clone());
        tokio::spawn(async move { cancel(&t, &key, &id).await })
    };
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock'";
    let mut is_waiting = false;
    for _ in 0..10_000 {
        is_waiting = t.number(waits).await > 0;
        if is_waiting || canceler.is_finished() {
            break;
        }
    }
    assert!(is_waiting, "the cancelation does not wait for the claim");
    claim.commit().await.expect("the claim is committed");
    let answer = canceler.await.expect("a response");

    assert_eq!(answer.refusals(), ["ALREADY_SENT"]);
    assert_eq!(status(t, &team.key, &id).await, "SENDING");
    assert_eq!(t.refunds().await, 0);
}

/// Two cancelations of each message race against two workers.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_either_canceled_and_refunded_or_sent(t: &Arc<TestApp>) {
    t.set_sms_price(10_000).await;
    let team = t.team(1_000).await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(send(t, &team.key, json!({ "sendAt": noon(TimeDelta::seconds(1)) })).await);
    }
    t.step(TimeDelta::seconds(1));
    let key = team.key.clone();

    let cancelers = ids.iter().chain(&ids).map(|id| {
        let (t, key, id) = (Arc::clone(t), key.clone(), id.clone());
        tokio::spawn(async move { (id.clone(), cancel(&t, &key, &id).await) })
    });
    let cancelers: Vec<_> = cancelers.collect();
    let workers = (0..2).map(|_| {
        let t = Arc::clone(t);
        tokio::spawn(async move { t.deliver_due().await })
    });
    let workers: Vec<_> = workers.collect();
    let (mut canceled, mut sent) = (BTreeSet::new(), BTreeSet::new());
    for canceler in join_all(cancelers).await {
        let (id, answer) = canceler.expect("the task ends");
        match answer.refusals()[..] {
            [] => canceled.insert(id),
            ["ALREADY_SENT"] => sent.insert(id),
            _ => panic!("{}", answer.body),
        };
    }
    for worker in join_all(workers).await {
        worker.expect("the worker ends");
    }
    t.deliver().await;

    assert!(canceled.is_disjoint(&sent), "a message was both canceled and sent");
    assert_eq!(canceled.len() + sent.len(), 40);
    let submitted: BTreeSet<String> =
        t.carrier.sent.lock().expect("the record").iter().map(ToString::to_string).collect();
    assert_eq!(submitted, sent);
    let count = i64::try_from(canceled.len()).expect("a small number");
    assert_eq!(t.refunds().await, count);
    assert_eq!(t.balance(&team).await, 960 + count);
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_cancelations_deactivations_and_expiries_refund_each_message_once(
    t: &Arc<TestApp>,
) {
    t.set_sms_price(10_000).await;
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        let until = json!({ "validUntil": noon(TimeDelta::seconds(1)) });
        ids.push(send(t, &sub.key, until).await);
    }
    t.step(TimeDelta::seconds(1));

    let cancelers = ids.into_iter().map(|id| {
        let (t, key) = (Arc::clone(t), sub.key.clone());
        tokio::spawn(async move {
            // The deactivation may have revoked the key.
            let answer = cancel(&t, &key, &id).await;
            let is_over =
                answer.status == StatusCode::UNAUTHORIZED || answer.codes() == ["UNAUTHENTICATED"];
            assert!(
                is_over || matches!(answer.refusals()[..], [] | ["ALREADY_ENDED"]),
                "{}",
                answer.body
            );
        })
    });
    let mut tasks: Vec<_> = cancelers.collect();
    for _ in 0..2 {
        let t = Arc::clone(t);
        tasks.push(tokio::spawn(async move {
            t.deliver_due().await;
        }));
    }
    {
        let (t, team, id) = (Arc::clone(t), team.clone(), sub.id.clone());
        tasks.push(tokio::spawn(async move {
            t.change_status(&team, &id, "deactivateSubAccount").await;
        }));
    }
    for task in join_all(tasks).await {
        task.expect("the task ends");
    }
    t.step(TimeDelta::seconds(61));
    t.deliver().await;

    let ended = "SELECT COUNT(*) FROM message WHERE status IN ('CANCELED', 'EXPIRED')";
    assert_eq!(t.number(ended).await, 30);
    assert_eq!(t.refunds().await, 30);
    assert_eq!(t.balance(&team).await, 1_000);
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0);
}
