//! Quiet hours. Each account sets its own quiet hours. Messages wait until the quiet hours end, and no message is lost.

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, TestTeam, text};

async fn set(t: &TestApp, key: &str, input: Value) -> Answer {
    let query = "mutation($input: SetQuietHoursInput) { setQuietHours(input: $input) { \
                 account { id quietHours { from to timeZone } } errors { code field } } }";
    t.ask_with(key, query, json!({ "input": input })).await
}

/// Returns quiet hours from 12:00 to 14:00 in Berlin. They end at 13:00 UTC. Each test begins at 13:00 in Berlin.
fn lunch() -> Value {
    json!({ "from": "12:00", "to": "14:00", "timeZone": "Europe/Berlin" })
}

async fn send(t: &TestApp, key: &str, mut input: Value) -> String {
    (input["to"], input["text"]) = (json!("+12025550123"), json!("Hello"));
    let answer = t.send(key, input).await;
    assert_eq!(answer.refusals(), [""; 0]);
    text(&answer.data()["sendMessage"]["message"]["id"])
}

async fn status(t: &TestApp, key: &str, id: &str) -> String {
    let query = "query($id: ID!) { message(id: $id) { status } }";
    text(&t.ask_with(key, query, json!({ "id": id })).await.data()["message"]["status"])
}

async fn quiet_team(t: &TestApp) -> TestTeam {
    let team = t.team(10_000).await;
    assert_eq!(set(t, &team.key, lunch()).await.refusals(), [""; 0]);
    team
}

/// The main account can see its sub-accounts' quiet hours. Input that is not valid changes nothing.
#[db_test]
async fn an_account_sets_its_own_quiet_hours(t: &TestApp) {
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let night = json!({ "from": "22:00", "to": "08:00", "timeZone": "America/New_York" });

    let answer = set(t, &sub.key, night.clone()).await;
    let expected = json!({ "account": { "id": sub.id, "quietHours": night }, "errors": [] });
    assert_eq!(answer.data()["setQuietHours"], expected);
    let query = "{ account { quietHours { from to timeZone } } \
                 subAccounts { nodes { quietHours { from to timeZone } } } }";
    let seen = t.ask(&team.key, query).await;
    let expected = json!({
        "account": { "quietHours": null }, "subAccounts": { "nodes": [{ "quietHours": night }] },
    });
    assert_eq!(*seen.data(), expected);

    let before = t.everything().await;
    for (from, to, zone, code, field) in [
        ("24:00", "08:00", "UTC", "TIME_INVALID", "from"),
        ("22:00", "8:00", "UTC", "TIME_INVALID", "to"),
        ("22:00", "22:00", "UTC", "TIME_INVALID", "to"),
        ("22:00", "08:00", "Berlin", "TIME_ZONE_INVALID", "timeZone"),
        ("22:00", "08:00", "", "TIME_ZONE_INVALID", "timeZone"),
        ("22:00", "08:00", "UTC\0", "TIME_ZONE_INVALID", "timeZone"),
    ] {
        let input = json!({ "from": from, "to": to, "timeZone": zone });
        let refused = set(t, &sub.key, input).await;
        let errors = json!([{ "code": code, "field": ["input", field] }]);
        let expected = json!({ "account": null, "errors": errors });
        assert_eq!(refused.data()["setQuietHours"], expected);
    }
    // A TEST key cannot change settings.
    for account in [&sub.id, &team.main_account_id] {
        let test = t.api_key(&team, account, "TEST").await;
        let before = t.everything().await;
        assert_eq!(set(t, &test, json!(null)).await.codes(), ["FORBIDDEN"]);
        assert_eq!(t.everything().await, before);
    }
    assert_eq!(t.everything().await["account"], before["account"]);

    let cleared = set(t, &sub.key, json!(null)).await;
    assert_eq!(cleared.data()["setQuietHours"]["account"]["quietHours"], json!(null));
}

/// Messages wait whether or not they have a `sendAt`, in both environments. Messages of other accounts are sent.
#[db_test]
async fn messages_wait_for_the_end_of_the_quiet_hours(t: &TestApp) {
    let team = quiet_team(t).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    let at_once = send(t, &team.key, json!({})).await;
    let scheduled = send(t, &team.key, json!({ "sendAt": "2026-03-16T12:30:00Z" })).await;
    let of_test = send(t, &test, json!({})).await;
    let others = send(t, &sub.key, json!({})).await;

    assert_eq!(t.deliver_due().await, 1);
    assert_eq!(status(t, &sub.key, &others).await, "SENT");
    assert_eq!(status(t, &team.key, &at_once).await, "SCHEDULED");
    t.step(TimeDelta::minutes(30));
    assert_eq!(t.deliver_due().await, 1, "the other account's report");
    t.step(TimeDelta::milliseconds(1_799_999));
    assert_eq!(t.deliver_due().await, 0);
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 1);
    t.step(TimeDelta::milliseconds(1));
    assert_eq!(t.deliver_due().await, 3);
    t.deliver().await;

    for (key, id) in [(&team.key, &at_once), (&team.key, &scheduled), (&test, &of_test)] {
        assert_eq!(status(t, key, id).await, "DELIVERED");
    }
}

/// The time zone is that of the sending account's contact with the recipient's address on the message's channel.
#[db_test]
async fn quiet_hours_use_the_time_zone_of_the_contact(t: &TestApp) {
    let team = quiet_team(t).await;
    let sub = t.sub_account(&team, json!({})).await;
    let contact = async |key: &str, zone: &str, channel: &str, address: &str| {
        let query = "mutation($input: CreateContactInput!) { createContact(input: $input) \
                     { errors { code } } }";
        let addresses = json!([{ "channel": channel, "address": address }]);
        let input = json!({ "timeZone": zone, "addresses": addresses });
        let made = t.ask_with(key, query, json!({ "input": input })).await;
        assert_eq!(made.data()["createContact"]["errors"], json!([]));
    };
    // It is 13:00 in the account's time zone, 21:00 in Tokyo and 11:00 in Cape Verde.
    contact(&team.key, "Asia/Tokyo", "SMS", "+12025550101").await;
    contact(&team.key, "Asia/Tokyo", "WHATSAPP", "+12025550102").await;
    contact(&sub.key, "Asia/Tokyo", "SMS", "+12025550103").await;
    contact(&team.key, "Atlantic/Cape_Verde", "SMS", "+12025550104").await;
    let send = async |to: &str| {
        let answer = t.send(&team.key, json!({ "to": to, "text": "Hello" })).await;
        assert_eq!(answer.refusals(), [""; 0]);
        text(&answer.data()["sendMessage"]["message"]["id"])
    };
    let awake = send("+12025550101").await;
    let by_the_account = [send("+12025550102").await, send("+12025550103").await];
    let later = send("+12025550104").await;

    assert_eq!(t.deliver_due().await, 2);
    assert_eq!(status(t, &team.key, &awake).await, "SENT");
    assert_eq!(status(t, &team.key, &later).await, "SENT");
    for id in &by_the_account {
        assert_eq!(status(t, &team.key, id).await, "SCHEDULED");
    }
    // An hour later, the account's quiet hours end, and in Cape Verde it is 12:00, when quiet hours begin there.
    t.step(TimeDelta::hours(1));
    let at_noon = send("+12025550104").await;
    t.deliver().await;
    assert_eq!(status(t, &team.key, &at_noon).await, "SCHEDULED");
    for id in &by_the_account {
        assert_eq!(status(t, &team.key, id).await, "DELIVERED");
    }
    t.step(TimeDelta::hours(2));
    t.deliver().await;
    assert_eq!(status(t, &team.key, &at_noon).await, "DELIVERED");
}

#[db_test]
async fn a_message_that_expires_within_quiet_hours_is_refunded(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = quiet_team(t).await;
    let expires = send(t, &team.key, json!({ "validUntil": "2026-03-16T13:00:00Z" })).await;
    let goes_out = send(t, &team.key, json!({ "validUntil": "2026-03-16T13:00:00.001Z" })).await;
    assert_eq!(t.deliver_due().await, 0);
    t.step(TimeDelta::milliseconds(3_599_999));
    assert_eq!(t.deliver_due().await, 0);
    assert_eq!(status(t, &team.key, &expires).await, "SCHEDULED");

    t.step(TimeDelta::milliseconds(1));
    assert_eq!(t.deliver_due().await, 2);
    t.deliver().await;

    assert_eq!(status(t, &team.key, &expires).await, "EXPIRED");
    assert_eq!(status(t, &team.key, &goes_out).await, "DELIVERED");
    let answer = t.ask(&team.key, "{ balance { balance } }").await;
    assert_eq!(answer.data()["balance"]["balance"], 9_999);
}

/// Messages of other accounts do not wait for the delayed messages.
#[db_test]
async fn more_messages_than_one_claim_are_delayed_in_one_round(t: &TestApp) {
    let team = quiet_team(t).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    let message = json!({ "to": "+12025550123", "text": "Hello" });
    for _ in 0..3 {
        let query = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                     { errors { code } } }";
        let input = vec![message.clone(); 100];
        let answer = t.ask_with(&test, query, json!({ "input": input })).await;
        assert!(answer.codes().is_empty(), "{}", answer.body);
    }
    t.step(TimeDelta::milliseconds(1));
    let others = send(t, &sub.key, json!({})).await;

    assert_eq!(t.deliver_due().await, 1);

    assert_eq!(status(t, &sub.key, &others).await, "SENT");
    assert_eq!(t.number("SELECT COUNT(*) FROM message WHERE status = 'SCHEDULED'").await, 300);
    t.step(TimeDelta::hours(1));
    t.deliver().await;
    assert_eq!(t.number("SELECT COUNT(*) FROM message WHERE status = 'DELIVERED'").await, 301);
}

/// Scheduled messages still wait until their `sendAt`.
#[db_test]
async fn delayed_messages_follow_the_new_quiet_hours(t: &TestApp) {
    let team = quiet_team(t).await;
    let put_off = send(t, &team.key, json!({})).await;
    let scheduled = send(t, &team.key, json!({ "sendAt": "2026-03-16T12:45:00Z" })).await;
    assert_eq!(t.deliver_due().await, 0);

    let shorter = json!({ "from": "12:00", "to": "13:10", "timeZone": "Europe/Berlin" });
    assert_eq!(set(t, &team.key, shorter).await.refusals(), [""; 0]);
    t.run_backlog().await;
    assert_eq!(t.deliver_due().await, 0);
    t.step(TimeDelta::minutes(10));
    assert_eq!(t.deliver_due().await, 1);
    assert_eq!(set(t, &team.key, lunch()).await.refusals(), [""; 0]);
    let again = send(t, &team.key, json!({})).await;
    assert_eq!(t.deliver_due().await, 0);
    assert_eq!(set(t, &team.key, json!(null)).await.refusals(), [""; 0]);
    t.run_backlog().await;
    assert_eq!(t.deliver_due().await, 1);

    assert_eq!(status(t, &team.key, &put_off).await, "SENT");
    assert_eq!(status(t, &team.key, &again).await, "SENT");
    assert_eq!(status(t, &team.key, &scheduled).await, "SCHEDULED");
    t.step(TimeDelta::minutes(35));
    t.deliver().await;
    assert_eq!(status(t, &team.key, &scheduled).await, "DELIVERED");
}
