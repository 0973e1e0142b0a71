//! Sending a message: its price, the reasons for a refusal, and repeats with the same idempotency key.

use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{Answer, Apps, Setup, TestApp};

const QUOTE: &str = "query($input: SendMessageInput!) { messageQuote(input: $input) \
                     { cost segments encoding wouldBeAccepted errors { code field } } }";

async fn quote(t: &TestApp, key: &str, input: Value) -> Answer {
    t.ask_with(key, QUOTE, json!({ "input": input })).await
}

/// The test covers every channel, and keys of a main account and of a sub-account.
#[db_test]
async fn a_message_costs_the_price_of_its_destination_per_segment(t: &TestApp) {
    let team = t.team(100_000).await;
    let sub = t.sub_account(&team, json!({})).await;

    for (to, channel, letters, unit, encoding, segments, cost) in [
        ("+12025550123", json!(null), 160, "a", json!("GSM7"), 1, json!(0.83)),
        ("+12025550123", json!("SMS"), 161, "a", json!("GSM7"), 2, json!(1.66)),
        ("+12025550123", json!("SMS"), 71, "ж", json!("UCS2"), 2, json!(1.66)),
        ("+4915112345678", json!(null), 1, "a", json!("GSM7"), 1, json!(10.1)),
        ("+18765550123", json!(null), 1, "a", json!("GSM7"), 1, json!(9.8)),
        ("+77011234567", json!(null), 1, "a", json!("GSM7"), 1, json!(19)),
        ("ada@example.com", json!(null), 1000, "ж", json!(null), 1, json!(0.04)),
        ("+12025550123", json!("WHATSAPP"), 500, "a", json!(null), 1, json!(1.4)),
        ("123456789", json!("TELEGRAM"), 500, "a", json!(null), 1, json!(0.1)),
    ] {
        let input = json!({ "to": to, "channel": channel, "text": unit.repeat(letters) });
        for key in [&sub.key, &team.key] {
            let before = t.everything().await;
            let quoted = quote(t, key, input.clone()).await;
            assert_eq!(
                quoted.data()["messageQuote"],
                json!({ "cost": cost, "segments": segments, "encoding": encoding,
                        "wouldBeAccepted": true, "errors": [] }),
                "{to}"
            );
            assert_eq!(t.everything().await, before, "a quote stores nothing");

            let sent = t.send(key, input.clone()).await;
            let message = &sent.data()["sendMessage"]["message"];
            assert_eq!(message["cost"], cost, "{to}");
            assert_eq!(message["segments"], segments);
            assert_eq!(message["status"], "QUEUED");
        }
    }
}

#[db_test]
async fn input_that_is_not_valid_is_refused_by_send_and_quote_and_changes_nothing(t: &TestApp) {
    let team = t.team(1000).await;
    let before = t.everything().await;
    let to = "+12025550123";

    for (input, code, field) in [
        (json!({ "to": "hello", "text": "Hi" }), "INVALID_RECIPIENT", "to"),
        (json!({ "to": "+11111111111", "text": "Hi" }), "INVALID_RECIPIENT", "to"),
        (json!({ "to": to, "channel": "EMAIL", "text": "Hi" }), "INVALID_RECIPIENT", "to"),
        (json!({ "to": to }), "INVALID_CONTENT", "text"),
        (json!({ "to": to, "text": " " }), "INVALID_CONTENT", "text"),
        (json!({ "to": to, "text": "a".repeat(1601) }), "INVALID_CONTENT", "text"),
        (json!({ "to": to, "text": "a\u{0}" }), "INVALID_CONTENT", "text"),
        (
            json!({ "to": to, "channel": "WHATSAPP", "text": "a".repeat(4097) }),
            "INVALID_CONTENT",
            "text",
        ),
        (
            json!({ "to": "a@example.com", "text": "a".repeat(100 * 1024 + 1) }),
            "INVALID_CONTENT",
            "text",
        ),
        (json!({ "to": to, "text": "Hi", "subject": "Hi" }), "INVALID_CONTENT", "subject"),
        (
            json!({ "to": "a@example.com", "text": "Hi", "subject": "a\nb" }),
            "INVALID_CONTENT",
            "subject",
        ),
        (
            json!({ "to": "a@example.com", "text": "Hi", "subject": "a\u{2028}b" }),
            "INVALID_CONTENT",
            "subject",
        ),
        (
            json!({ "to": "a@example.com", "text": "Hi", "subject": "a\u{202e}b" }),
            "INVALID_CONTENT",
            "subject",
        ),
        (
            json!({ "to": "a@example.com", "text": "Hi", "subject": "\u{200b}\u{2060}" }),
            "INVALID_CONTENT",
            "subject",
        ),
        (
            json!({ "to": to, "text": "Hi", "metadata": { "a": "x".repeat(17 * 1024) } }),
            "METADATA_INVALID",
            "metadata",
        ),
        (
            json!({ "to": to, "text": "Hi", "idempotencyKey": "" }),
            "IDEMPOTENCY_KEY_INVALID",
            "idempotencyKey",
        ),
        (
            json!({ "to": to, "text": "Hi", "idempotencyKey": "k".repeat(256) }),
            "IDEMPOTENCY_KEY_INVALID",
            "idempotencyKey",
        ),
        (json!({ "to": "+85512345678", "text": "Hi" }), "NO_PRICE", "to"),
    ] {
        let sent = t.send(&team.key, input.clone()).await;
        let error = &sent.data()["sendMessage"]["errors"][0];
        assert_eq!(error["code"], code, "{input}");
        assert_eq!(error["field"], json!(["input", field]));
        let quoted = quote(t, &team.key, input).await;
        assert_eq!(quoted.data()["messageQuote"]["errors"][0]["code"], code);
        assert_eq!(quoted.data()["messageQuote"]["wouldBeAccepted"], false);
    }

    assert_eq!(t.everything().await, before);
}

#[db_test]
async fn values_at_the_limits_are_accepted(t: &TestApp) {
    let team = t.team(1000).await;
    for input in [
        json!({ "to": "+12025550123", "text": "a".repeat(1600) }),
        json!({ "to": "+12025550123", "channel": "WHATSAPP", "text": "a".repeat(4096) }),
        json!({ "to": "a@example.com", "text": "a".repeat(100 * 1024), "subject": "s".repeat(998) }),
        json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": "k".repeat(255) }),
    ] {
        assert_eq!(t.send(&team.key, input).await.refusals(), [""; 0]);
    }
}

/// The account's status, credit limit and balance at the time of the repeat do not matter.
#[db_test]
async fn a_repeat_returns_the_first_message(t: &TestApp) {
    t.set_sms_price(1_000_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 50 })).await;
    let input = json!({ "to": "+12025550123", "text": "Hi", "metadata": { "b": 1.50, "a": 2 },
                        "idempotencyKey": "order-1" });
    let first = t.send(&sub.key, input).await;
    assert_eq!(first.data()["sendMessage"]["replayed"], false);
    t.change_status(&team, &sub.id, "suspendSubAccount").await;
    let before = t.everything().await;

    // This input equals the first one after normalization: the channel is given, the number has spaces, and the keys of
    // the metadata are in another order.
    let same = json!({ "to": "+1 (202) 555-0123", "channel": "SMS", "text": "Hi",
                       "metadata": { "a": 2, "b": 1.50 }, "idempotencyKey": "order-1" });
    let repeat = t.send(&sub.key, same.clone()).await;
    let quoted = quote(t, &sub.key, same).await;
    let other = json!({ "to": "+12025550123", "text": "Ho", "idempotencyKey": "order-1" });
    let conflict = t.send(&sub.key, other).await;

    assert_eq!(repeat.data()["sendMessage"]["replayed"], true);
    assert_eq!(
        repeat.data()["sendMessage"]["message"]["id"],
        first.data()["sendMessage"]["message"]["id"]
    );
    assert_eq!(quoted.data()["messageQuote"]["cost"], 0);
    assert_eq!(quoted.data()["messageQuote"]["wouldBeAccepted"], true);
    assert_eq!(conflict.refusals(), ["IDEMPOTENCY_CONFLICT"]);
    assert_eq!(t.everything().await, before);
}

/// An idempotency key belongs to one account and environment.
#[db_test]
async fn only_an_accepted_message_uses_its_idempotency_key(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let input = json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": "k" });
    assert_eq!(t.send(&sub.key, input.clone()).await.refusals(), ["INSUFFICIENT_BALANCE"]);
    t.top_up(&team, json!(100), "later").await;

    let other = json!({ "to": "+12025550124", "text": "Ho", "idempotencyKey": "k" });
    for key in [&sub.key, &team.key, &test_key] {
        let sent = t.send(key, other.clone()).await;
        assert_eq!(sent.refusals(), [""; 0]);
        assert_eq!(sent.data()["sendMessage"]["replayed"], false);
    }
}

#[db_test]
async fn send_messages_answers_each_message_in_order(t: &TestApp) {
    t.set_sms_price(100_000).await;
    let team = t.team(25).await;
    let send = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                { message { to } replayed errors { code } } }";
    let to = |to: &str, key: Value| json!({ "to": to, "text": "Hi", "idempotencyKey": key });

    let answer = t
        .ask_with(
            &team.key,
            send,
            json!({ "input": [
                to("+12025550100", json!("a")), to("junk", json!(null)), to("+12025550101", json!(null)),
                to("+12025550100", json!("a")), to("+12025550102", json!("a")), to("+12025550103", json!(null)),
            ] }),
        )
        .await;

    let verdicts: Vec<_> = answer.data()["sendMessages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|payload| {
            (
                payload["message"]["to"].clone(),
                payload["replayed"].clone(),
                payload["errors"][0]["code"].clone(),
            )
        })
        .collect();
    assert_eq!(
        json!(verdicts),
        json!([
            ["+12025550100", false, null],
            [null, false, "INVALID_RECIPIENT"],
            ["+12025550101", false, null],
            ["+12025550100", true, null],
            [null, false, "IDEMPOTENCY_CONFLICT"],
            [null, false, "INSUFFICIENT_BALANCE"],
        ])
    );
    let before = t.everything().await;
    let none = t.ask_with(&team.key, send, json!({ "input": [] })).await;
    assert_eq!(none.data()["sendMessages"], json!([]));
    let too_many = vec![to("+12025550100", json!(null)); 101];
    let too_many = t.ask_with(&team.key, send, json!({ "input": too_many })).await;
    assert_eq!(too_many.codes(), ["BAD_USER_INPUT"]);
    assert_eq!(too_many.body["data"], json!({ "sendMessages": null }));
    assert_eq!(t.everything().await, before);
}

/// TEST messages can simulate every failure.
#[db_test]
async fn test_messages_cost_nothing_and_reach_no_carrier(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 0 })).await;
    let key = t.api_key(&team, &sub.id, "TEST").await;

    for (to, refusals, status) in [
        ("+12025550123", vec![], "DELIVERED"),
        ("+15005550001", vec![], "FAILED"),
        ("fail@example.com", vec![], "FAILED"),
        ("+15005550002", vec![], "UNDELIVERED"),
        ("undelivered@example.com", vec![], "UNDELIVERED"),
        ("+15005550003", vec![], "UNKNOWN"),
        ("+15005550004", vec!["CREDIT_LIMIT_REACHED"], ""),
        ("credit-limit@example.com", vec!["CREDIT_LIMIT_REACHED"], ""),
        ("+15005550005", vec!["INSUFFICIENT_BALANCE"], ""),
        ("junk", vec!["INVALID_RECIPIENT"], ""),
        ("+85512345678", vec!["NO_PRICE"], ""),
    ] {
        let sent = t.send(&key, json!({ "to": to, "text": "Hi" })).await;
        assert_eq!(sent.refusals(), refusals, "{to}");
        if refusals.is_empty() {
            let message = &sent.data()["sendMessage"]["message"];
            assert_eq!((&message["cost"], &message["environment"]), (&json!(0), &json!("TEST")));
            t.deliver().await;
            let shown = t
                .ask_with(
                    &key,
                    "query($id: ID!) { message(id: $id) { status } }",
                    json!({ "id": message["id"] }),
                )
                .await;
            assert_eq!(shown.data()["message"]["status"], status, "{to}");
        }
    }

    assert_eq!(t.carrier.sent.lock().expect("the record").len(), 0, "a carrier was reached");
    for empty in ["ledger_entry", "usage_day"] {
        assert_eq!(t.everything().await[empty], [""; 0]);
    }
}

/// TEST messages are still simulated.
#[db_test]
async fn without_a_carrier_live_messages_are_refused(apps: &Apps) {
    let setup = Setup { has_carriers: false, ..Setup::default() };
    let t = apps.start_with(setup).await;
    let team = t.team(1000).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let before = t.everything().await;

    for (to, channel) in [
        ("+12025550123", "SMS"),
        ("a@example.com", "EMAIL"),
        ("+12025550123", "WHATSAPP"),
        ("1", "TELEGRAM"),
    ] {
        let sent = t.send(&team.key, json!({ "to": to, "channel": channel, "text": "Hi" })).await;
        assert_eq!(sent.refusals(), ["CHANNEL_UNAVAILABLE"]);
    }
    assert_eq!(t.everything().await, before);
    assert!(t.sends(&test_key).await);
}
