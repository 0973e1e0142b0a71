//! Changes to an account with many waiting messages. A change is committed immediately, and applied to the messages in
//! steps.

use std::sync::Arc;

use axum::http::StatusCode;
use chrono::TimeDelta;
use db_test::db_test;
use futures_util::future::join_all;
use serde_json::json;
use tollgate::{
    domain::{
        message::{
            backlog::{self, BacklogPosition},
            delivery,
        },
        message_batch::BATCH_BYTES_MAX,
    },
    worker,
};

use crate::harness::{Setup, TestApp, text};

const LUNCH: &str = "{ from: \"12:00\", to: \"14:00\", timeZone: \"Europe/Berlin\" }";

async fn set_quiet_hours(t: &TestApp, key: &str, hours: &str) {
    let query = format!("mutation {{ setQuietHours(input: {hours}) {{ errors {{ code }} }} }}");
    assert_eq!(t.ask(key, &query).await.refusals(), [""; 0]);
}

async fn step(t: &TestApp, position: &mut BacklogPosition) -> bool {
    backlog::step(&t.app, position).await.expect("the step is done")
}

async fn count(t: &TestApp, status: &str) -> i64 {
    t.number(&format!("SELECT COUNT(*) FROM message WHERE status = '{status}'")).await
}

async fn pending(t: &TestApp) -> i64 {
    let pending = "SELECT COUNT(*) FROM account WHERE cancel_until IS NOT NULL \
                   OR quiet_check_after IS NOT NULL";
    t.number(pending).await
}

/// The account's status and keys change immediately. Balances and totals agree with the ledger after each step.
#[db_test]
async fn a_deactivation_cancels_waiting_messages_in_steps(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(2_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &sub.id, "TEST").await;
    t.send_many(&sub.key, 600, json!({})).await;
    t.send_many(&sub.key, 300, json!({ "sendAt": "2026-03-20T12:00:00Z" })).await;
    t.send_many(&test, 300, json!({})).await;

    assert_eq!(t.change_status(&team, &sub.id, "deactivateSubAccount").await, "INACTIVE");

    for key in [&sub.key, &test] {
        assert_eq!(t.ask(key, "{ __typename }").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!((count(t, "CANCELED").await, t.refunds().await), (0, 0));
    assert_eq!(t.balance(&team).await, 1_100);
    // From now on, no message of the account is submitted to the carrier.
    let due = worker::deliver_due(&t.app).await.expect("the worker delivers");
    assert_eq!((due.messages, due.has_more), (0, false));
    // Each step cancels up to 500 messages. The data is consistent after each step, even if the process ends between
    // two steps.
    for (canceled, refunded) in [(500, 500), (1_000, 900), (1_200, 900)] {
        assert!(step(t, &mut BacklogPosition::default()).await);
        assert_eq!((count(t, "CANCELED").await, t.refunds().await), (canceled, refunded));
        assert_eq!(t.balance(&team).await, 1_100 + refunded);
        t.assert_reconciled().await;
    }
    assert_eq!(pending(t).await, 0);
    assert!(!step(t, &mut BacklogPosition::default()).await);
    let codes = "SELECT COUNT(*) FROM message WHERE error_code = 'ACCOUNT_INACTIVE'";
    assert_eq!(t.number(codes).await, 1_200);
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0);
}

/// Messages from before the deactivation are canceled even if the worker did not have time to cancel them before the
/// reactivation. Messages that are accepted after the reactivation are sent.
#[db_test]
async fn a_reactivation_does_not_restore_messages_from_before_the_deactivation(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(2_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    t.send_many(&sub.key, 600, json!({})).await;
    t.send_many(&sub.key, 100, json!({ "sendAt": "2026-03-16T12:00:05Z" })).await;
    let over = json!({ "validUntil": "2026-03-16T12:00:05Z" });
    t.send_many(&sub.key, 1, over).await;

    t.change_status(&team, &sub.id, "deactivateSubAccount").await;
    let mut position = BacklogPosition::default();
    assert!(step(t, &mut position).await);
    assert_eq!(t.change_status(&team, &sub.id, "reactivateSubAccount").await, "ACTIVE");
    // The new message is accepted in the same millisecond as the old messages.
    let key = t.api_key(&team, &sub.id, "LIVE").await;
    let new = t.send(&key, json!({ "to": "+12025550123", "text": "Hello" })).await;
    let new = text(&new.data()["sendMessage"]["message"]["id"]);
    let delivered = worker::deliver_due(&t.app).await.expect("the worker delivers");

    assert_eq!((delivered.messages, delivered.has_more), (1, false));
    let sent = t.carrier.sent.lock().expect("the record").clone();
    assert_eq!(sent.iter().map(ToString::to_string).collect::<Vec<_>>(), [new]);
    // The old messages are neither sent nor expired, both while the account is suspended and after it is reactivated.
    t.send_many(&key, 1, json!({ "sendAt": "2026-03-16T12:00:05Z" })).await;
    t.step(TimeDelta::seconds(10));
    for status in ["suspendSubAccount", "reactivateSubAccount"] {
        t.change_status(&team, &sub.id, status).await;
        let claim = delivery::claim(&t.app).await.expect("the messages are claimed");
        assert!(claim.messages.iter().all(|one| one.step == delivery::Step::Report), "{status}");
    }
    // A second deactivation cancels the messages that were accepted since the first deactivation.
    t.step(TimeDelta::seconds(61));
    t.change_status(&team, &sub.id, "deactivateSubAccount").await;
    t.change_status(&team, &sub.id, "reactivateSubAccount").await;
    assert_eq!(t.run_backlog().await, 1);
    t.deliver().await;

    assert_eq!((count(t, "CANCELED").await, count(t, "DELIVERED").await), (702, 1));
    assert_eq!((t.refunds().await, t.balance(&team).await), (702, json!(1_999)));
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 1);
}

/// After the clock was set back, the ids of new messages are lower than those of the messages to be canceled.
#[db_test]
async fn messages_accepted_since_a_reactivation_are_sent_even_if_the_clock_was_set_back(
    t: &TestApp,
) {
    t.set_sms_price(10_000).await;
    let team = t.team(2_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    t.send_many(&sub.key, 600, json!({})).await;
    // This key was revoked before the deactivation, so messages that were sent with the key are canceled.
    let early = t.api_key(&team, &sub.id, "LIVE").await;
    t.send_many(&early, 3, json!({})).await;
    t.revoke_key(&team, &t.key_id(&early).await).await;

    t.change_status(&team, &sub.id, "deactivateSubAccount").await;
    t.change_status(&team, &sub.id, "reactivateSubAccount").await;
    t.step(-TimeDelta::minutes(10));
    let key = t.api_key(&team, &sub.id, "LIVE").await;
    t.send_many(&key, 5, json!({})).await;
    // Messages that were sent with this key are delivered even if the key is revoked later.
    t.revoke_key(&team, &t.key_id(&key).await).await;
    t.deliver_due().await;
    assert_eq!(t.run_backlog().await, 2);
    t.deliver().await;

    assert_eq!((count(t, "CANCELED").await, count(t, "DELIVERED").await), (603, 5));
    assert_eq!((t.refunds().await, t.balance(&team).await), (603, json!(1_995)));
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 5);
}

#[db_test]
async fn messages_scheduled_since_a_reactivation_are_sent_at_their_time(t: &TestApp) {
    let team = t.team(2_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let soon = json!({ "sendAt": "2026-03-16T12:00:05Z" });
    t.send_many(&sub.key, 600, soon.clone()).await;
    t.change_status(&team, &sub.id, "deactivateSubAccount").await;
    t.change_status(&team, &sub.id, "reactivateSubAccount").await;
    let key = t.api_key(&team, &sub.id, "LIVE").await;
    t.send_many(&key, 3, soon).await;
    t.step(TimeDelta::seconds(5));

    let mut position = BacklogPosition::default();
    for delivered in [0, 0, 3] {
        let due = worker::deliver_due(&t.app).await.expect("the worker delivers");
        assert_eq!(due.messages, delivered);
        step(t, &mut position).await;
    }
    t.deliver().await;
    assert_eq!((count(t, "CANCELED").await, count(t, "DELIVERED").await), (600, 3));
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_steps_and_cancelations_refund_each_message_once(t: &Arc<TestApp>) {
    t.set_sms_price(10_000).await;
    let team = t.team(2_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    t.send_many(&sub.key, 1_100, json!({})).await;
    t.change_status(&team, &sub.id, "deactivateSubAccount").await;
    t.change_status(&team, &sub.id, "reactivateSubAccount").await;
    let key = t.api_key(&team, &sub.id, "LIVE").await;
    let listed = t.ask(&key, "{ messages(first: 20) { nodes { id } } }").await;
    let ids = listed.data()["messages"]["nodes"].as_array().expect("a list").clone();

    let steppers = (0..4).map(|_| {
        let t = Arc::clone(t);
        tokio::spawn(async move {
            t.run_backlog().await;
        })
    });
    let mut tasks: Vec<_> = steppers.collect();
    for id in ids {
        let (t, key) = (Arc::clone(t), key.clone());
        tasks.push(tokio::spawn(async move {
            let query = "mutation($id: ID!) { cancelMessage(id: $id) { errors { code } } }";
            let answer = t.ask_with(&key, query, json!({ "id": id["id"] })).await;
            assert_eq!(answer.refusals(), [""; 0]);
        }));
    }
    for task in join_all(tasks).await {
        task.expect("the task ends");
    }

    assert_eq!((count(t, "CANCELED").await, t.refunds().await), (1_100, 1_100));
    assert_eq!((t.balance(&team).await, pending(t).await), (json!(2_000), 0));
}

#[db_test]
async fn teams_and_their_accounts_take_turns_in_the_steps(t: &TestApp) {
    let (first, second) = (t.team(2_000).await, t.team(2_000).await);
    let mut subs = Vec::new();
    for (team, messages) in [(&first, 600), (&first, 600), (&second, 10)] {
        let sub = t.sub_account(team, json!({})).await;
        t.send_many(&sub.key, messages, json!({})).await;
        subs.push((team, sub.id));
    }
    for (team, id) in &subs {
        t.change_status(team, id, "deactivateSubAccount").await;
    }

    let canceled = async || {
        let mut counts = Vec::new();
        for (team, id) in &subs {
            let query = "query($id: ID!) { subAccount(by: { id: $id }) { totalSpent } }";
            let spent = t.ask_with(&team.key, query, json!({ "id": id })).await;
            counts.push(spent.data()["subAccount"]["totalSpent"].clone());
        }
        counts
    };
    let before = canceled().await;
    let mut position = BacklogPosition::default();
    let mut stepped = Vec::new();
    let mut last = before;
    while step(t, &mut position).await {
        let now = canceled().await;
        stepped.extend((0..3).filter(|at| now[*at] != last[*at]));
        last = now;
    }
    assert_eq!(stepped, [0, 2, 1, 0, 1]);
    assert_eq!(last, [json!(0), json!(0), json!(0)]);
}

/// Delayed messages follow the new quiet hours immediately when they become due. Scheduled messages keep waiting.
#[db_test]
async fn new_quiet_hours_are_applied_to_delayed_messages_in_steps(t: &TestApp) {
    let team = t.team(10_000).await;
    set_quiet_hours(t, &team.key, LUNCH).await;
    t.run_backlog().await;
    t.send_many(&team.key, 1_200, json!({})).await;
    t.send_many(&team.key, 50, json!({ "sendAt": "2026-03-16T12:30:00Z" })).await;
    while delivery::claim(&t.app).await.expect("the messages are claimed").has_more {}
    assert_eq!(count(t, "SCHEDULED").await, 1_250);
    let due = async |until: &str| {
        let (t, until) = (t, until.replace('Z', "+00:00").replace('T', " "));
        let due = match t.app.db.backend() {
            sea_orm::DbBackend::Postgres => format!("due_at <= '{until}'"),
            _ => format!("replace(due_at, 'T', ' ') <= '{until}'"),
        };
        t.number(&format!("SELECT COUNT(*) FROM message WHERE {due}")).await
    };
    assert_eq!(due("2026-03-16T12:00:00Z").await, 0);

    // The quiet hours are changed several times. Only the last change has an effect.
    for _ in 0..3 {
        set_quiet_hours(t, &team.key, "null").await;
        let shorter = "{ from: \"12:00\", to: \"13:10\", timeZone: \"Europe/Berlin\" }";
        set_quiet_hours(t, &team.key, shorter).await;
    }
    let mut position = BacklogPosition::default();
    for judged in [500, 1_000, 1_200] {
        assert!(step(t, &mut position).await);
        assert_eq!(due("2026-03-16T12:10:00Z").await, judged);
    }
    assert!(!step(t, &mut position).await);
    assert_eq!(delivery::claim(&t.app).await.expect("the messages are claimed").messages.len(), 0);

    // The quiet hours are set and then removed between two steps. The removal applies to all messages.
    set_quiet_hours(t, &team.key, LUNCH).await;
    assert!(step(t, &mut position).await);
    set_quiet_hours(t, &team.key, "null").await;
    t.run_backlog().await;
    assert_eq!(due("2026-03-16T12:00:00Z").await, 1_200);
    t.deliver().await;
    assert_eq!((count(t, "DELIVERED").await, count(t, "SCHEDULED").await), (1_200, 50));
}

/// If the change released the message, a second worker could claim it.
#[db_test]
async fn new_quiet_hours_do_not_release_a_message_that_a_worker_is_expiring(t: &TestApp) {
    let team = t.team(1_000).await;
    set_quiet_hours(t, &team.key, LUNCH).await;
    t.send_many(&team.key, 1, json!({ "validUntil": "2026-03-16T12:30:00Z" })).await;
    delivery::claim(&t.app).await.expect("the messages are claimed");
    t.step(TimeDelta::minutes(30));
    assert_eq!(delivery::claim(&t.app).await.expect("the messages are claimed").messages.len(), 1);

    set_quiet_hours(t, &team.key, "null").await;
    t.run_backlog().await;

    assert_eq!(delivery::claim(&t.app).await.expect("the messages are claimed").messages.len(), 0);
    t.step(TimeDelta::seconds(61));
    t.deliver().await;
    assert_eq!(count(t, "EXPIRED").await, 1);
}

#[db_test]
async fn a_step_is_limited_in_bytes_and_takes_at_least_one_message(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &sub.id, "TEST").await;
    // The first step takes 32 messages of 128 KiB and so reaches the limit exactly. One of the next 32 messages has one
    // more byte, so the last message is left for a third step.
    let half = 64 * 1024;
    assert_eq!(BATCH_BYTES_MAX, 32 * 2 * 64 * 1024);
    for at in 0..64 {
        let text = "x".repeat(if at == 32 { half + 1 } else { half });
        let html = "x".repeat(half);
        let input = json!({ "to": "ada@example.com", "text": text, "html": html });
        assert_eq!(t.send(&test, input).await.refusals(), [""; 0]);
    }
    t.change_status(&team, &sub.id, "deactivateSubAccount").await;

    let mut position = BacklogPosition::default();
    for canceled in [32, 63, 64] {
        assert!(step(t, &mut position).await);
        assert_eq!(count(t, "CANCELED").await, canceled);
    }
    assert_eq!(pending(t).await, 0);
}

#[db_test]
async fn another_process_continues_the_steps(t: &TestApp) {
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    t.send_many(&sub.key, 700, json!({})).await;
    t.change_status(&team, &sub.id, "deactivateSubAccount").await;
    assert!(step(t, &mut BacklogPosition::default()).await);

    let other = t.beside(Setup::default()).await;
    assert_eq!(other.run_backlog().await, 1);

    assert_eq!((count(t, "CANCELED").await, t.refunds().await), (700, 700));
}
