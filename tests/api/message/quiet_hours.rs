//! Quiet hours: set by the account itself; they put messages off until their end and lose none.

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};
use tollgate::worker;

use crate::harness::{Answer, TestApp, TestTeam, text};

async fn set(t: &TestApp, key: &str, input: Value) -> Answer {
    let query = "mutation($input: SetQuietHoursInput) { setQuietHours(input: $input) { \
                 account { id quietHours { from to timeZone } } errors { code field } } }";
    t.ask_with(key, query, json!({ "input": input })).await
}

/// From 12:00 to 14:00 in Berlin, where it is 13:00 when the tests begin: until 13:00 UTC.
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

async fn due(t: &TestApp) -> usize {
    worker::deliver_due(&t.app).await.expect("the worker delivers").messages
}

async fn quiet_team(t: &TestApp) -> TestTeam {
    let team = t.team(10_000).await;
    assert_eq!(set(t, &team.key, lunch()).await.refusals(), [""; 0]);
    team
}

/// Each account its own; the main account sees them; what is not well formed changes nothing.
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
    // R15: a TEST key changes no settings.
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

/// Put off to the very end, whatever sendAt says, in both environments; another account's go out.
#[db_test]
async fn messages_wait_for_the_end(t: &TestApp) {
    let team = quiet_team(t).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    let at_once = send(t, &team.key, json!({})).await;
    let scheduled = send(t, &team.key, json!({ "sendAt": "2026-03-16T12:30:00Z" })).await;
    let of_test = send(t, &test, json!({})).await;
    let others = send(t, &sub.key, json!({})).await;

    assert_eq!(due(t).await, 1);
    assert_eq!(status(t, &sub.key, &others).await, "SENT");
    assert_eq!(status(t, &team.key, &at_once).await, "SCHEDULED");
    t.step(TimeDelta::minutes(30));
    assert_eq!(due(t).await, 1, "the other account's report");
    t.step(TimeDelta::milliseconds(1_799_999));
    assert_eq!(due(t).await, 0);
    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 1);
    t.step(TimeDelta::milliseconds(1));
    assert_eq!(due(t).await, 3);
    t.deliver().await;

    for (key, id) in [(&team.key, &at_once), (&team.key, &scheduled), (&test, &of_test)] {
        assert_eq!(status(t, key, id).await, "DELIVERED");
    }
}

/// By the clock of the contact that has the address, whatever the account's: another account's contact
/// of the same address, or one of another channel, says nothing.
#[db_test]
async fn a_contact_goes_by_its_own_clock(t: &TestApp) {
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
    // It is 13:00 by the account's clock, 21:00 in Tokyo, 11:00 in Cape Verde.
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

    assert_eq!(due(t).await, 2);
    assert_eq!(status(t, &team.key, &awake).await, "SENT");
    assert_eq!(status(t, &team.key, &later).await, "SENT");
    for id in &by_the_account {
        assert_eq!(status(t, &team.key, id).await, "SCHEDULED");
    }
    // An hour on it is 13:00 UTC, noon in Cape Verde, and over for the account.
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

/// One whose validUntil comes first expires then, and is paid back.
#[db_test]
async fn what_ends_within_them_is_paid_back(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = quiet_team(t).await;
    let expires = send(t, &team.key, json!({ "validUntil": "2026-03-16T13:00:00Z" })).await;
    let goes_out = send(t, &team.key, json!({ "validUntil": "2026-03-16T13:00:00.001Z" })).await;
    assert_eq!(due(t).await, 0);
    t.step(TimeDelta::milliseconds(3_599_999));
    assert_eq!(due(t).await, 0);
    assert_eq!(status(t, &team.key, &expires).await, "SCHEDULED");

    t.step(TimeDelta::milliseconds(1));
    assert_eq!(due(t).await, 2);
    t.deliver().await;

    assert_eq!(status(t, &team.key, &expires).await, "EXPIRED");
    assert_eq!(status(t, &team.key, &goes_out).await, "DELIVERED");
    let answer = t.ask(&team.key, "{ balance { balance } }").await;
    assert_eq!(answer.data()["balance"]["balance"], 9_999);
}

/// More than one claim takes: all are put off in one round, and nobody else has to wait for them.
#[db_test]
async fn many_are_put_off_in_one_round(t: &TestApp) {
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

    assert_eq!(due(t).await, 1);

    assert_eq!(status(t, &sub.key, &others).await, "SENT");
    assert_eq!(t.number("SELECT COUNT(*) FROM message WHERE status = 'SCHEDULED'").await, 300);
    t.step(TimeDelta::hours(1));
    t.deliver().await;
    assert_eq!(t.number("SELECT COUNT(*) FROM message WHERE status = 'DELIVERED'").await, 301);
}

/// New hours judge what the old ones have put off; what waits for its sendAt goes on waiting.
#[db_test]
async fn what_was_put_off_goes_by_the_new_hours(t: &TestApp) {
    let team = quiet_team(t).await;
    let put_off = send(t, &team.key, json!({})).await;
    let scheduled = send(t, &team.key, json!({ "sendAt": "2026-03-16T12:45:00Z" })).await;
    assert_eq!(due(t).await, 0);

    let shorter = json!({ "from": "12:00", "to": "13:10", "timeZone": "Europe/Berlin" });
    assert_eq!(set(t, &team.key, shorter).await.refusals(), [""; 0]);
    t.work_off().await;
    assert_eq!(due(t).await, 0);
    t.step(TimeDelta::minutes(10));
    assert_eq!(due(t).await, 1);
    assert_eq!(set(t, &team.key, lunch()).await.refusals(), [""; 0]);
    let again = send(t, &team.key, json!({})).await;
    assert_eq!(due(t).await, 0);
    assert_eq!(set(t, &team.key, json!(null)).await.refusals(), [""; 0]);
    t.work_off().await;
    assert_eq!(due(t).await, 1);

    assert_eq!(status(t, &team.key, &put_off).await, "SENT");
    assert_eq!(status(t, &team.key, &again).await, "SENT");
    assert_eq!(status(t, &team.key, &scheduled).await, "SCHEDULED");
    t.step(TimeDelta::minutes(35));
    t.deliver().await;
    assert_eq!(status(t, &team.key, &scheduled).await, "DELIVERED");
}
