//! Schedules: when a message is sent and when it expires. Tests of canceling are in `cancel`.

mod cancel;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use db_test::db_test;
use serde_json::{Value, json};
use tollgate::domain::message::delivery;

use crate::harness::{Answer, NOON, TestApp, text};

/// Returns noon plus a duration, in the API's format.
fn noon(and: TimeDelta) -> String {
    let noon: DateTime<Utc> = NOON.parse().expect("a time");
    (noon + and).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Sends an SMS with this additional input and returns the message's id.
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

#[db_test]
async fn a_scheduled_message_is_charged_when_accepted_and_sent_at_its_time(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let (send_at, until) = (noon(TimeDelta::hours(1)), noon(TimeDelta::hours(2)));
    let id = send(t, &team.key, json!({ "sendAt": send_at, "validUntil": until })).await;

    let query = "{ messages { nodes { id status sendAt validUntil cost } } }";
    let answer = t.ask(&team.key, query).await;
    let shown = json!([{
        "id": id, "status": "SCHEDULED", "sendAt": send_at, "validUntil": until, "cost": 1,
    }]);
    assert_eq!(answer.data()["messages"]["nodes"], shown);
    assert_eq!(t.balance(&team).await, 99);
    t.step(TimeDelta::milliseconds(3_599_999));
    assert_eq!(t.deliver_due().await, 0);
    assert_eq!(status(t, &team.key, &id).await, "SCHEDULED");

    t.step(TimeDelta::milliseconds(1));
    assert_eq!(t.deliver_due().await, 1);
    assert_eq!(status(t, &team.key, &id).await, "SENT");
    t.deliver().await;
    assert_eq!(status(t, &team.key, &id).await, "DELIVERED");
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 1);
}

/// A message with a `sendAt` in the past is sent immediately. A quote has the same result as sending, and a refused
/// message changes nothing in the database.
#[db_test]
async fn send_at_and_valid_until_are_accepted_within_their_bounds(t: &TestApp) {
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
}

/// `sendAt` and `validUntil` are compared as times, not as text. A repeat is accepted even after both times have
/// passed.
#[db_test]
async fn a_repeat_must_have_the_same_send_at_and_valid_until(t: &TestApp) {
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
}

/// The message expires even while its account is suspended. Usage and totals include the refund.
#[db_test]
async fn a_message_not_submitted_before_valid_until_expires_and_is_refunded(
    t: &TestApp,
    #[values(false, true)] is_suspended: bool,
) {
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &sub.id, "TEST").await;
    let until = json!({ "validUntil": noon(TimeDelta::minutes(10)) });
    for _ in 0..3 {
        send(t, &sub.key, until.clone()).await;
    }
    let of_test = send(t, &test, until).await;
    let stays = send(t, &sub.key, json!({ "sendAt": noon(TimeDelta::minutes(30)) })).await;
    if is_suspended {
        t.change_status(&team, &sub.id, "suspendSubAccount").await;
        t.step(TimeDelta::milliseconds(599_999));
        assert_eq!(t.deliver_due().await, 0);
        t.step(TimeDelta::milliseconds(1));
    } else {
        // No worker runs during these ten minutes.
        t.step(TimeDelta::minutes(10));
    }
    assert_eq!(t.balance(&team).await, 96);

    assert_eq!(t.deliver_due().await, 4);
    let after = t.everything().await;
    assert_eq!(t.deliver_due().await, 0);
    t.step(TimeDelta::minutes(5));
    assert_eq!(t.deliver_due().await, 0);

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
    let of_test = read(t, &test, &of_test).await;
    assert_eq!([&of_test["status"], &of_test["refundedAt"]], [&json!("EXPIRED"), &json!(null)]);
    assert_eq!(t.balance(&team).await, 99);
    assert_eq!(t.refunds().await, 3);
    if is_suspended {
        assert_eq!(status(t, &sub.key, &stays).await, "SCHEDULED");
        t.change_status(&team, &sub.id, "reactivateSubAccount").await;
    }
    t.step(TimeDelta::minutes(15));
    t.deliver().await;
    assert_eq!(status(t, &sub.key, &stays).await, "DELIVERED");
}

/// The interrupted message may have been sent, so it is neither repeated nor refunded.
#[db_test]
async fn an_interrupted_submission_does_not_expire(t: &TestApp) {
    let team = t.team(1_000).await;
    let id = send(t, &team.key, json!({ "validUntil": noon(TimeDelta::seconds(30)) })).await;
    assert_eq!(delivery::claim(&t.app).await.expect("the messages are claimed").messages.len(), 1);
    t.step(TimeDelta::seconds(61));

    t.deliver().await;

    let expected = json!({ "status": "UNKNOWN", "refundedAt": null, "errorCode": "CUT_OFF" });
    assert_eq!(read(t, &team.key, &id).await, expected);
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0);
}

#[db_test]
async fn an_interrupted_expiry_is_completed_by_the_next_worker(t: &TestApp) {
    let team = t.team(1_000).await;
    let id = send(t, &team.key, json!({ "validUntil": noon(TimeDelta::seconds(30)) })).await;
    t.step(TimeDelta::seconds(30));
    let cut_off = delivery::claim(&t.app).await.expect("the messages are claimed").messages;
    assert_eq!(cut_off.len(), 1);
    assert_eq!(status(t, &team.key, &id).await, "QUEUED");
    t.step(TimeDelta::seconds(61));
    assert_eq!(t.deliver_due().await, 1);
    let after = t.everything().await;

    let late = cut_off.into_iter().map(|claimed| (claimed, delivery::Outcome::Expired)).collect();
    delivery::settle(&t.app, late).await.expect("the messages are settled");

    assert_eq!(status(t, &team.key, &id).await, "EXPIRED");
    assert_eq!(t.refunds().await, 1);
    assert_eq!(t.everything().await, after);
}
