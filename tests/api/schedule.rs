//! Schedules: when a message goes out, when it expires, and how it is canceled; each is paid back once.

use std::{collections::BTreeSet, sync::Arc};

use axum::http::StatusCode;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures_util::future::join_all;
use rstest::rstest;
use sea_orm::{ConnectionTrait as _, DbBackend, QuerySelect as _, QueryTrait as _, Statement};
use serde_json::{Value, json};
use tollgate::{domain::delivery, worker};

use crate::harness::{
    Answer, Database, NOBODYS_IDS, NOON, Postgres, Sqlite, TestApp, TestTeam, text,
};

/// A moment so long after noon, as the API writes it.
fn noon(and: TimeDelta) -> String {
    let noon: DateTime<Utc> = NOON.parse().expect("a time");
    (noon + and).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Sends an SMS with what is given besides and gives its id.
async fn send(t: &TestApp, key: &str, mut input: Value) -> String {
    input["text"] = json!("Hello");
    if input["to"].is_null() {
        input["to"] = json!("+12025550123");
    }
    let answer = t.send(key, input).await;
    assert_eq!(answer.refusals(), [""; 0]);
    text(&answer.data()["sendMessage"]["message"]["id"])
}

async fn read(t: &TestApp, key: &str, id: &str) -> Value {
    let query = "query($id: ID!) { message(id: $id) { status refundedAt errorCode } }";
    t.ask_with(key, query, json!({ "id": id })).await.data()["message"].clone()
}

async fn status(t: &TestApp, key: &str, id: &str) -> String {
    text(&read(t, key, id).await["status"])
}

async fn cancel(t: &TestApp, key: &str, id: &str) -> Answer {
    let query = "mutation($id: ID!) { cancelMessage(id: $id) { \
                 message { id status refundedAt errorCode cost } errors { code message field } } }";
    t.ask_with(key, query, json!({ "id": id })).await
}

async fn balance(t: &TestApp, team: &TestTeam) -> Value {
    t.ask(&team.key, "{ balance { balance } }").await.data()["balance"]["balance"].clone()
}

async fn refunds(t: &TestApp) -> i64 {
    t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'REFUND'").await
}

async fn due(t: &TestApp) -> usize {
    worker::deliver_due(&t.app).await.expect("the worker delivers")
}

async fn manage(t: &TestApp, team: &TestTeam, id: &str, mutation: &str) {
    let query = format!(
        "mutation($id: ID!) {{ {mutation}(account: {{ id: $id }}) {{ errors {{ code }} }} }}"
    );
    assert_eq!(t.ask_with(&team.key, &query, json!({ "id": id })).await.refusals(), [""; 0]);
}

#[rstest]
#[tokio::test]
async fn a_scheduled_message_is_charged_now_and_goes_out_at_its_time(
    #[values(Sqlite, Postgres)] database: Database,
) {
    let Some(t) = TestApp::start(database).await else { return };
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let (send_at, until) = (noon(TimeDelta::hours(1)), noon(TimeDelta::hours(2)));
    let id = send(&t, &team.key, json!({ "sendAt": send_at, "validUntil": until })).await;

    let query = "{ messages { nodes { id status sendAt validUntil cost } } }";
    let answer = t.ask(&team.key, query).await;
    let shown = json!([{
        "id": id, "status": "SCHEDULED", "sendAt": send_at, "validUntil": until, "cost": 1,
    }]);
    assert_eq!(answer.data()["messages"]["nodes"], shown);
    assert_eq!(balance(&t, &team).await, 99);
    t.step(TimeDelta::milliseconds(3_599_999));
    assert_eq!(due(&t).await, 0);
    assert_eq!(status(&t, &team.key, &id).await, "SCHEDULED");

    t.step(TimeDelta::milliseconds(1));
    assert_eq!(due(&t).await, 1);
    assert_eq!(status(&t, &team.key, &id).await, "SENT");
    t.deliver().await;
    assert_eq!(status(&t, &team.key, &id).await, "DELIVERED");
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 1);
    t.close().await;
}

/// A past sendAt means at once; the bounds of both moments, from both sides; nothing is left of what is
/// refused. A quote says the same.
#[rstest]
#[tokio::test]
async fn moments_are_taken_within_their_bounds(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(10_000).await;
    let (zero, ms) = (TimeDelta::zero(), TimeDelta::milliseconds(1));
    let (hour, month) = (TimeDelta::hours(1), TimeDelta::days(30));
    let send_at = |by| json!({ "sendAt": noon(by) });
    let until = |by| json!({ "validUntil": noon(by) });
    let both = |send_at, until| json!({ "sendAt": noon(send_at), "validUntil": noon(until) });

    for (mut input, expected) in [
        (send_at(-hour), Ok("QUEUED")),
        (send_at(zero), Ok("QUEUED")),
        (send_at(ms), Ok("SCHEDULED")),
        (send_at(month), Ok("SCHEDULED")),
        (send_at(month + ms), Err(("SEND_AT_INVALID", "sendAt"))),
        (until(zero), Err(("VALID_UNTIL_INVALID", "validUntil"))),
        (until(ms), Ok("QUEUED")),
        (both(hour, hour), Err(("VALID_UNTIL_INVALID", "validUntil"))),
        (both(hour, hour + ms), Ok("SCHEDULED")),
        (both(-hour, zero), Err(("VALID_UNTIL_INVALID", "validUntil"))),
        (both(-hour, ms), Ok("QUEUED")),
    ] {
        (input["to"], input["text"]) = (json!("+12025550123"), json!("Hello"));
        let before = t.everything().await;
        let quote = "query($input: SendMessageInput!) { messageQuote(input: $input) \
                     { wouldBeAccepted errors { code field } } }";
        let quote = t.ask_with(&team.key, quote, json!({ "input": input })).await;
        let answer = t.send(&team.key, input.clone()).await;

        let payload = &answer.data()["sendMessage"];
        let quoted = &quote.data()["messageQuote"];
        assert_eq!(quoted["wouldBeAccepted"], expected.is_ok(), "{input}");
        match expected {
            Ok(status) => assert_eq!(payload["message"]["status"], status, "{input}"),
            Err((code, field)) => {
                let error = json!({ "code": code, "field": ["input", field] });
                assert_eq!(quoted["errors"], json!([error]), "{input}");
                assert_eq!(answer.refusals(), [code], "{input}");
                assert_eq!(t.everything().await, before, "{input}");
            }
        }
    }
    t.close().await;
}

/// R13: both moments are part of what a repeat must share, as moments and not as text; a repeat is
/// answered also when its time is over.
#[rstest]
#[tokio::test]
async fn a_repeat_shares_the_moments(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(1_000).await;
    let input = |send_at: Value, until: Value| {
        json!({
            "to": "+12025550123", "text": "Hi", "idempotencyKey": "order-1",
            "sendAt": send_at, "validUntil": until,
        })
    };
    let (at, until) = ("2026-03-16T13:00:00Z", "2026-03-16T14:00:00Z");
    assert_eq!(t.send(&team.key, input(json!(at), json!(until))).await.refusals(), [""; 0]);
    t.step(TimeDelta::hours(3));
    t.deliver().await;
    let before = t.everything().await;

    let same = input(json!("2026-03-16T14:00:00+01:00"), json!("2026-03-16T14:00:00.000Z"));
    let again = t.send(&team.key, same).await;
    assert_eq!(again.data()["sendMessage"]["replayed"], true);
    for (at, until) in [
        (json!(null), json!(until)),
        (json!(at), json!(null)),
        (json!("2026-03-16T13:00:00.001Z"), json!(until)),
        (json!(at), json!("2026-03-16T14:00:00.001Z")),
        (json!(until), json!(at)),
    ] {
        let other = t.send(&team.key, input(at, until)).await;
        assert_eq!(other.refusals(), ["IDEMPOTENCY_CONFLICT"]);
    }

    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// R4, R12: what was not handed over in its time, also while its account is suspended, is EXPIRED and paid
/// back once; usage and totals say so.
#[rstest]
#[tokio::test]
async fn what_is_not_handed_over_in_time_is_paid_back(
    #[values(Sqlite, Postgres)] database: Database,
    #[values(false, true)] is_suspended: bool,
) {
    let Some(t) = TestApp::start(database).await else { return };
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &sub.id, "TEST").await;
    let until = json!({ "validUntil": noon(TimeDelta::minutes(10)) });
    for _ in 0..3 {
        send(&t, &sub.key, until.clone()).await;
    }
    let of_test = send(&t, &test, until).await;
    let stays = send(&t, &sub.key, json!({ "sendAt": noon(TimeDelta::minutes(30)) })).await;
    if is_suspended {
        manage(&t, &team, &sub.id, "suspendSubAccount").await;
        t.step(TimeDelta::milliseconds(599_999));
        assert_eq!(due(&t).await, 0);
        t.step(TimeDelta::milliseconds(1));
    } else {
        // No worker has run in the meantime.
        t.step(TimeDelta::minutes(10));
    }
    assert_eq!(balance(&t, &team).await, 96);

    assert_eq!(due(&t).await, 4);
    let after = t.everything().await;
    assert_eq!(due(&t).await, 0);
    t.step(TimeDelta::minutes(5));
    assert_eq!(due(&t).await, 0);

    assert_eq!(t.everything().await, after);
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0);
    let at = noon(TimeDelta::minutes(10));
    let expired = json!({ "status": "EXPIRED", "refundedAt": at, "errorCode": "EXPIRED" });
    let query = "{ messages { nodes { status refundedAt errorCode } } account { totalSpent \
                 usage { totals { messages failed charged refunded } } } }";
    let answer = t.ask(&sub.key, query).await;
    let nodes = answer.data()["messages"]["nodes"].as_array().expect("a list").clone();
    assert_eq!(nodes[1..], [expired.clone(), expired.clone(), expired]);
    assert_eq!(nodes[0]["status"], "SCHEDULED");
    let account = json!({ "totalSpent": 1, "usage": { "totals": {
        "messages": 4, "failed": 3, "charged": 4, "refunded": 3,
    } } });
    assert_eq!(answer.data()["account"], account);
    let of_test = read(&t, &test, &of_test).await;
    assert_eq!([&of_test["status"], &of_test["refundedAt"]], [&json!("EXPIRED"), &json!(null)]);
    assert_eq!(balance(&t, &team).await, 99);
    assert_eq!(refunds(&t).await, 3);
    if is_suspended {
        assert_eq!(status(&t, &sub.key, &stays).await, "SCHEDULED");
        manage(&t, &team, &sub.id, "reactivateSubAccount").await;
    }
    t.step(TimeDelta::minutes(15));
    t.deliver().await;
    assert_eq!(status(&t, &sub.key, &stays).await, "DELIVERED");
    t.close().await;
}

/// A hand-over that was cut off is not repeated when its time is over: it may have gone out, so it is
/// not paid back either.
#[rstest]
#[tokio::test]
async fn a_cut_off_hand_over_does_not_expire(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(1_000).await;
    let id = send(&t, &team.key, json!({ "validUntil": noon(TimeDelta::seconds(30)) })).await;
    assert_eq!(delivery::claim(&t.app).await.expect("the claim").len(), 1);
    t.step(TimeDelta::seconds(61));

    t.deliver().await;

    let expected = json!({ "status": "UNKNOWN", "refundedAt": null, "errorCode": "CUT_OFF" });
    assert_eq!(read(&t, &team.key, &id).await, expected);
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0);
    t.close().await;
}

/// A worker that was cut off before it let a message expire: the next one does.
#[rstest]
#[tokio::test]
async fn an_expiry_that_was_cut_off_is_made_up_for(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(1_000).await;
    let id = send(&t, &team.key, json!({ "validUntil": noon(TimeDelta::seconds(30)) })).await;
    t.step(TimeDelta::seconds(30));
    let cut_off = delivery::claim(&t.app).await.expect("the claim");
    assert_eq!(cut_off.len(), 1);
    assert_eq!(status(&t, &team.key, &id).await, "QUEUED");
    t.step(TimeDelta::seconds(61));
    assert_eq!(due(&t).await, 1);
    let after = t.everything().await;

    let late = cut_off.into_iter().map(|claimed| (claimed, delivery::Outcome::Expired)).collect();
    delivery::settle(&t.app, late).await.expect("the settling");

    assert_eq!(status(&t, &team.key, &id).await, "EXPIRED");
    assert_eq!(refunds(&t).await, 1);
    assert_eq!(t.everything().await, after);
    t.close().await;
}

/// Canceled and paid back once; a repeat answers the same and changes nothing.
#[rstest]
#[tokio::test]
async fn a_message_is_canceled_until_it_is_claimed(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let scheduled = send(&t, &sub.key, json!({ "sendAt": noon(TimeDelta::days(1)) })).await;
    let queued = send(&t, &sub.key, json!({})).await;
    t.step(TimeDelta::minutes(1));
    for id in [&scheduled, &queued] {
        let answer = cancel(&t, &sub.key, id).await;
        let at = noon(TimeDelta::minutes(1));
        let message = json!({
            "id": id, "status": "CANCELED", "refundedAt": at, "errorCode": "CANCELED", "cost": 1,
        });
        assert_eq!(answer.data()["cancelMessage"], json!({ "message": message, "errors": [] }));

        let before = t.everything().await;
        t.step(TimeDelta::minutes(1));
        assert_eq!(cancel(&t, &sub.key, id).await.body, answer.body);
        assert_eq!(t.everything().await, before);
        t.step(-TimeDelta::minutes(1));
    }
    t.step(TimeDelta::days(2));
    t.deliver().await;

    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0);
    assert_eq!(balance(&t, &team).await, 100);
    let query = "{ account { totalSpent usage { totals { messages failed charged refunded } } } }";
    let totals = json!({ "messages": 2, "failed": 2, "charged": 2, "refunded": 2 });
    let account = json!({ "totalSpent": 0, "usage": { "totals": totals } });
    assert_eq!(t.ask(&sub.key, query).await.data()["account"], account);
    t.close().await;
}

/// What a worker has claimed, and what has ended, is not canceled.
#[rstest]
#[tokio::test]
async fn what_is_on_its_way_is_not_canceled(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(1_000).await;
    let expect = async |id: &str, is: &str, code: &str| {
        assert_eq!(status(&t, &team.key, id).await, is);
        let before = t.everything().await;
        let refused = cancel(&t, &team.key, id).await;
        assert_eq!(refused.refusals(), [code], "{is}");
        let payload = &refused.data()["cancelMessage"];
        assert_eq!(
            [&payload["message"], &payload["errors"][0]["field"]],
            [&json!(null), &json!(["id"])]
        );
        assert_eq!(t.everything().await, before, "{is}");
    };

    let id = send(&t, &team.key, json!({})).await;
    let claimed = delivery::claim(&t.app).await.expect("the claim");
    expect(&id, "SENDING", "ALREADY_SENT").await;
    let sent = claimed.into_iter().map(|claimed| (claimed, delivery::Outcome::Sent)).collect();
    delivery::settle(&t.app, sent).await.expect("the settling");
    expect(&id, "SENT", "ALREADY_SENT").await;
    t.step(TimeDelta::seconds(1));
    t.deliver().await;
    expect(&id, "DELIVERED", "ALREADY_SENT").await;
    for (to, is, code) in [
        ("+15005550001", "FAILED", "ALREADY_ENDED"),
        ("+15005550002", "UNDELIVERED", "ALREADY_SENT"),
        ("+15005550003", "UNKNOWN", "ALREADY_SENT"),
    ] {
        let id = send(&t, &team.key, json!({ "to": to })).await;
        t.deliver().await;
        expect(&id, is, code).await;
    }
    let until = json!({ "validUntil": noon(TimeDelta::minutes(10)) });
    let id = send(&t, &team.key, until).await;
    t.step(TimeDelta::minutes(10));
    t.deliver().await;
    expect(&id, "EXPIRED", "ALREADY_ENDED").await;
    t.close().await;
}

/// R3, R15: only its own account cancels a message, with a key of its environment.
#[rstest]
#[tokio::test]
async fn only_its_account_cancels_a_message(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let (team, other) = (t.team(1_000).await, t.team(1_000).await);
    let sub = t.sub_account(&team, json!({})).await;
    let sibling = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &sub.id, "TEST").await;
    let at = json!({ "sendAt": noon(TimeDelta::minutes(10)) });
    let id = send(&t, &sub.key, at.clone()).await;
    let of_test = send(&t, &test, at).await;
    let before = t.everything().await;

    for key in [&team.key, &sibling.key, &test, &other.key] {
        let mut answers = Vec::new();
        for id in [&id[..], NOBODYS_IDS[0], NOBODYS_IDS[1], ""] {
            // The key itself is looked up anew each time.
            t.app.keys.forget();
            let counted = t.statements();
            let answer = cancel(&t, key, id).await;
            assert_eq!(answer.refusals(), ["NOT_FOUND"]);
            answers.push((answer.body.to_string(), t.statements() - counted));
        }
        assert_eq!(answers.iter().collect::<BTreeSet<_>>().len(), 1, "{answers:?}");
    }
    assert_eq!(cancel(&t, &sub.key, &of_test).await.refusals(), ["NOT_FOUND"]);
    assert_eq!(cancel(&t, &t.operator, &id).await.codes(), ["FORBIDDEN"]);
    assert_eq!(t.everything().await, before);

    let canceled = cancel(&t, &test, &of_test).await;
    assert_eq!(canceled.data()["cancelMessage"]["message"]["status"], "CANCELED");
    assert_eq!(canceled.data()["cancelMessage"]["message"]["refundedAt"], json!(null));
    assert_eq!(refunds(&t).await, 0);
    t.close().await;
}

/// R4: a deactivation cancels what is scheduled, too.
#[rstest]
#[tokio::test]
async fn a_deactivation_cancels_what_is_scheduled(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let scheduled = send(&t, &sub.key, json!({ "sendAt": noon(TimeDelta::minutes(10)) })).await;
    send(&t, &sub.key, json!({})).await;

    manage(&t, &team, &sub.id, "deactivateSubAccount").await;
    manage(&t, &team, &sub.id, "reactivateSubAccount").await;
    t.step(TimeDelta::minutes(10));
    assert_eq!(due(&t).await, 0);

    let key = t.api_key(&team, &sub.id, "LIVE").await;
    let canceled = json!({ "status": "CANCELED", "refundedAt": NOON.replace('Z', ".000Z"), "errorCode": "ACCOUNT_INACTIVE" });
    assert_eq!(read(&t, &key, &scheduled).await, canceled);
    assert_eq!(balance(&t, &team).await, 100);
    assert_eq!(refunds(&t).await, 2);
    t.close().await;
}

/// A worker that is about to let a message expire, and its account cancels it first.
#[rstest]
#[tokio::test]
async fn a_canceled_message_does_not_expire(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(1_000).await;
    let id = send(&t, &team.key, json!({ "validUntil": noon(TimeDelta::seconds(30)) })).await;
    t.step(TimeDelta::seconds(30));
    let claimed = delivery::claim(&t.app).await.expect("the claim");
    assert_eq!(claimed.len(), 1);
    assert_eq!(cancel(&t, &team.key, &id).await.refusals(), [""; 0]);
    let after = t.everything().await;

    let late = claimed.into_iter().map(|claimed| (claimed, delivery::Outcome::Expired)).collect();
    delivery::settle(&t.app, late).await.expect("the settling");

    assert_eq!(t.everything().await, after);
    assert_eq!(status(&t, &team.key, &id).await, "CANCELED");
    assert_eq!(refunds(&t).await, 1);
    t.close().await;
}

/// A worker claims the message after the cancelation has looked at it and before it writes: only
/// PostgreSQL lets them meet so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_in_the_midst_of_a_cancelation_wins() {
    let Some(t) = TestApp::start(Postgres).await else { return };
    let team = t.team(1_000).await;
    let id = send(&t, &team.key, json!({})).await;
    let t = Arc::new(t);
    let claim = t.app.db.begin_write().await.expect("a transaction begins");
    let sql = "UPDATE message SET status = 'SENDING', lease_id = gen_random_uuid(), \
               due_at = due_at + INTERVAL '1 minute'";
    claim.execute_unprepared(sql).await.expect("the claim");

    let canceler = {
        let (t, key, id) = (Arc::clone(&t), team.key.clone(), id.clone());
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
    let answer = canceler.await.expect("an answer");

    assert_eq!(answer.refusals(), ["ALREADY_SENT"]);
    assert_eq!(status(&t, &team.key, &id).await, "SENDING");
    assert_eq!(refunds(&t).await, 0);
    Arc::into_inner(t).expect("every task has ended").close().await;
}

/// Two cancelations of each message against two workers: who was told CANCELED is paid back once and
/// its message went nowhere; the others' went out.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelation_and_a_worker_agree(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    t.set_sms_price(10_000).await;
    let team = t.team(1_000).await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(send(&t, &team.key, json!({ "sendAt": noon(TimeDelta::seconds(1)) })).await);
    }
    t.step(TimeDelta::seconds(1));
    let (t, key) = (Arc::new(t), team.key.clone());

    let cancelers = ids.iter().chain(&ids).map(|id| {
        let (t, key, id) = (Arc::clone(&t), key.clone(), id.clone());
        tokio::spawn(async move { (id.clone(), cancel(&t, &key, &id).await) })
    });
    let cancelers: Vec<_> = cancelers.collect();
    let workers = (0..2).map(|_| {
        let t = Arc::clone(&t);
        tokio::spawn(async move { due(&t).await })
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
    let t = Arc::into_inner(t).expect("every task has ended");
    t.deliver().await;

    assert!(canceled.is_disjoint(&sent), "a message was both");
    assert_eq!(canceled.len() + sent.len(), 40);
    let handed_over: BTreeSet<String> =
        t.carrier.sent.lock().expect("the record").iter().map(ToString::to_string).collect();
    assert_eq!(handed_over, sent);
    let count = i64::try_from(canceled.len()).expect("a small number");
    assert_eq!(refunds(&t).await, count);
    assert_eq!(balance(&t, &team).await, 960 + count);
    t.close().await;
}

/// Cancelations, a deactivation, expiries and a worker at once: each message is paid back once.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_paid_back_once_by_whichever_way(
    #[values(Sqlite, Postgres)] database: Database,
) {
    let Some(t) = TestApp::start(database).await else { return };
    t.set_sms_price(10_000).await;
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        let until = json!({ "validUntil": noon(TimeDelta::seconds(1)) });
        ids.push(send(&t, &sub.key, until).await);
    }
    t.step(TimeDelta::seconds(1));
    let t = Arc::new(t);

    let cancelers = ids.into_iter().map(|id| {
        let (t, key) = (Arc::clone(&t), sub.key.clone());
        tokio::spawn(async move {
            // Its key may be revoked in the meantime.
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
        let t = Arc::clone(&t);
        tasks.push(tokio::spawn(async move {
            due(&t).await;
        }));
    }
    {
        let (t, team, id) = (Arc::clone(&t), team.clone(), sub.id.clone());
        tasks.push(tokio::spawn(
            async move { manage(&t, &team, &id, "deactivateSubAccount").await },
        ));
    }
    for task in join_all(tasks).await {
        task.expect("the task ends");
    }
    let t = Arc::into_inner(t).expect("every task has ended");
    t.step(TimeDelta::seconds(61));
    t.deliver().await;

    let ended = "SELECT COUNT(*) FROM message WHERE status IN ('CANCELED', 'EXPIRED')";
    assert_eq!(t.number(ended).await, 30);
    assert_eq!(refunds(&t).await, 30);
    assert_eq!(balance(&t, &team).await, 1_000);
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0);
    t.close().await;
}

/// What is scheduled for later costs a worker's look nothing: it goes by the index of what is due.
#[rstest]
#[tokio::test]
async fn a_workers_look_goes_by_what_is_due(#[values(Sqlite, Postgres)] database: Database) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(1_000).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    send(&t, &test, json!({ "sendAt": noon(TimeDelta::days(29)) })).await;
    let backend = t.app.db.backend();
    let (id, analyze) = match backend {
        DbBackend::Postgres => ("gen_random_uuid()", "ANALYZE message"),
        _ => ("randomblob(16)", "ANALYZE"),
    };
    let columns = "team_id, account_id, api_key_id, environment, channel, status, recipient, text, \
                   segments, cost_micros, input_hash, send_at, due_at, created_at, updated_at";
    let many = format!(
        "INSERT INTO message (id, {columns}) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) \
         SELECT {id}, {columns} FROM message, n"
    );
    t.execute(&many).await;
    t.execute(analyze).await;

    let select = delivery::due(NOON.parse().expect("a time")).limit(256).build(backend);
    let explain = if backend == DbBackend::Postgres { "EXPLAIN" } else { "EXPLAIN QUERY PLAN" };
    let explain = Statement { sql: format!("{explain} {}", select.sql), ..select };
    let rows = t.app.db.read.query_all_raw(explain).await.expect("the plan");
    let at = if backend == DbBackend::Postgres { 0 } else { 3 };
    let plan: Vec<String> =
        rows.iter().map(|row| row.try_get_by_index(at).expect("a line")).collect();

    let plan = plan.join("\n");
    assert!(plan.contains("message_due"), "{plan}");
    assert!(!plan.contains("Seq Scan on message") && !plan.contains("SCAN message\n"), "{plan}");
    assert_eq!(due(&t).await, 0);
    t.close().await;
}
