//! Usage: totals for LIVE messages, grouped by day, month, channel, country or account. Each figure is counted on the
//! UTC day of the event, for example of the send or of the refund.

mod limits;

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{TestApp, TestSubAccount, TestTeam};

const FIGURES: &str = "messages segments delivered failed charged refunded spent";

/// Returns figures in the order of [`FIGURES`]. `spent` is `charged` less `refunded`.
fn figures(
    messages: u8,
    segments: u8,
    delivered: u8,
    failed: u8,
    charged: i32,
    refunded: i32,
) -> Value {
    json!({
        "messages": messages, "segments": segments, "delivered": delivered, "failed": failed,
        "charged": charged, "refunded": refunded, "spent": charged - refunded,
    })
}

fn none() -> Value {
    figures(0, 0, 0, 0, 0, 0)
}

/// Returns the usage of the key's account or team. `of` is the query field: `account` or `team`.
async fn usage(t: &TestApp, key: &str, of: &str, arguments: Value, fields: &str) -> Value {
    let query = format!(
        "query($range: DateRange, $groupBy: [UsageDimension!]) {{ {of} {{ usage(range: $range, \
         groupBy: $groupBy) {{ {fields} }} }} }}"
    );
    t.ask_with(key, &query, arguments).await.data()[of]["usage"].clone()
}

async fn send(t: &TestApp, key: &str, input: Value) {
    assert!(t.send(key, input).await.refusals().is_empty());
}

/// Sends an SMS to the United States for 2 cents, without delivering it.
async fn send_sms(t: &TestApp, key: &str) {
    send(t, key, json!({ "to": "+12025550123", "text": "Hello" })).await;
}

/// Creates a team with a sub-account, and sets prices in cents: SMS to the United States 2, SMS to Germany 3, WhatsApp
/// to the United States 5, e-mail 1.
async fn start(t: &TestApp) -> (TestTeam, TestSubAccount) {
    for (channel, prefix, cents) in
        [("SMS", "1", 2), ("SMS", "49", 3), ("WHATSAPP", "1", 5), ("EMAIL", "", 1)]
    {
        t.execute(&format!(
            "UPDATE price SET price_micros = {cents}0000 \
             WHERE channel = '{channel}' AND prefix = '{prefix}'"
        ))
        .await;
    }
    let team = t.team(10_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    (team, sub)
}

/// Dimensions by which usage is not grouped are null in each bucket.
#[db_test]
async fn usage_is_grouped_by_each_combination_of_dimensions(t: &TestApp) {
    let (_, sub) = start(t).await;
    let long = "x".repeat(161);
    send(t, &sub.key, json!({ "to": "+12025550123", "text": long })).await;
    send(t, &sub.key, json!({ "to": "+4915112345678", "text": "Hallo" })).await;
    t.step(TimeDelta::days(1));
    send(t, &sub.key, json!({ "to": "+12025550123", "channel": "WHATSAPP", "text": "Hi" })).await;
    send(t, &sub.key, json!({ "to": "a@example.com", "subject": "Hi", "text": "Hi" })).await;
    let (long, german) = (figures(1, 2, 0, 0, 4, 0), figures(1, 1, 0, 0, 3, 0));
    let (chat, mail) = (figures(1, 1, 0, 0, 5, 0), figures(1, 1, 0, 0, 1, 0));
    let (monday, tuesday) = ("2026-03-16", "2026-03-17");
    let all = figures(4, 5, 0, 0, 13, 0);

    for (group_by, expected) in [
        (json!([]), vec![]),
        (json!(null), vec![]),
        (
            json!(["DAY"]),
            vec![
                (json!({ "day": monday }), figures(2, 3, 0, 0, 7, 0)),
                (json!({ "day": tuesday }), figures(2, 2, 0, 0, 6, 0)),
            ],
        ),
        (json!(["MONTH"]), vec![(json!({ "month": "2026-03" }), all.clone())]),
        (
            json!(["CHANNEL", "CHANNEL"]),
            vec![
                (json!({ "channel": "SMS" }), figures(2, 3, 0, 0, 7, 0)),
                (json!({ "channel": "EMAIL" }), mail.clone()),
                (json!({ "channel": "WHATSAPP" }), chat.clone()),
            ],
        ),
        (
            json!(["COUNTRY"]),
            vec![
                (json!({}), mail.clone()),
                (json!({ "country": "DE" }), german.clone()),
                (json!({ "country": "US" }), figures(2, 3, 0, 0, 9, 0)),
            ],
        ),
        (
            json!(["COUNTRY", "DAY", "CHANNEL"]),
            vec![
                (json!({ "day": monday, "channel": "SMS", "country": "DE" }), german),
                (json!({ "day": monday, "channel": "SMS", "country": "US" }), long),
                (json!({ "day": tuesday, "channel": "EMAIL" }), mail),
                (json!({ "day": tuesday, "channel": "WHATSAPP", "country": "US" }), chat),
            ],
        ),
    ] {
        let fields = format!(
            "totals {{ {FIGURES} }} \
             buckets {{ day month channel country account {{ id }} figures {{ {FIGURES} }} }}"
        );
        let found = usage(t, &sub.key, "account", json!({ "groupBy": group_by }), &fields).await;
        let buckets = expected.into_iter().map(|(given, figures)| {
            let mut bucket = json!({
                "day": null, "month": null, "channel": null, "country": null, "account": null,
                "figures": figures,
            });
            for (name, value) in given.as_object().expect("an object") {
                bucket[name] = value.clone();
            }
            bucket
        });
        let buckets: Vec<Value> = buckets.collect();
        assert_eq!(found, json!({ "totals": all, "buckets": buckets }), "{group_by}");
    }
}

/// A range includes its first and last day. The days are UTC days.
#[db_test]
async fn usage_covers_this_month_unless_a_range_is_given(t: &TestApp) {
    let (_, sub) = start(t).await;
    let range = |from: &str, to: &str| json!({ "range": { "from": from, "to": to } });
    let fields = "from to totals { messages }";
    let shown = |from: &str, to: &str, messages: u8| json!({ "from": from, "to": to, "totals": { "messages": messages } });

    // Messages are sent at noon on March 16, in the last millisecond of March, in the first millisecond of April, and
    // on a day in 2027.
    send_sms(t, &sub.key).await;
    t.step(TimeDelta::hours(15 * 24 + 12) - TimeDelta::milliseconds(1));
    send_sms(t, &sub.key).await;
    let march = usage(t, &sub.key, "account", json!({}), fields).await;
    assert_eq!(march, shown("2026-03-01", "2026-03-31", 2));
    t.step(TimeDelta::milliseconds(1));
    let april = usage(t, &sub.key, "account", json!({}), fields).await;
    assert_eq!(april, shown("2026-04-01", "2026-04-01", 0));
    send_sms(t, &sub.key).await;
    t.step(TimeDelta::days(275));
    send_sms(t, &sub.key).await;

    for (from, to, messages) in [
        ("2026-03-16", "2026-03-16", 1),
        ("2026-03-17", "2026-03-30", 0),
        ("2026-03-16", "2026-03-31", 2),
        ("2026-03-31", "2026-04-01", 2),
        ("2026-04-01", "2026-12-31", 1),
        ("2026-01-02", "2027-01-02", 4),
        ("2027-01-01", "2028-01-01", 1),
    ] {
        let found = usage(t, &sub.key, "account", range(from, to), fields).await;
        assert_eq!(found, shown(from, to, messages));
    }
    let by_month = json!({
        "range": { "from": "2026-03-31", "to": "2027-01-01" }, "groupBy": ["MONTH"],
    });
    let found =
        usage(t, &sub.key, "account", by_month, "buckets { month figures { messages } }").await;
    let months = ["2026-03", "2026-04", "2027-01"];
    let months = months.map(|month| json!({ "month": month, "figures": { "messages": 1 } }));
    assert_eq!(found["buckets"], json!(months));
}

/// A refund is counted on the day of the refund. Therefore the `spent` of a day may be negative, and the figures for
/// past days do not change.
#[db_test]
async fn a_refund_counts_on_its_own_day(t: &TestApp) {
    let (_, sub) = start(t).await;
    let by_day = json!({ "groupBy": ["DAY"] });
    let fields = format!("totals {{ {FIGURES} }} buckets {{ day figures {{ {FIGURES} }} }}");
    let monday = json!({ "day": "2026-03-16", "figures": figures(3, 3, 0, 0, 6, 0) });

    for to in ["+15005550001", "+15005550002", "+12025550123"] {
        send(t, &sub.key, json!({ "to": to, "text": "Hi" })).await;
    }
    let found = usage(t, &sub.key, "account", by_day.clone(), &fields).await;
    assert_eq!(found["buckets"], json!([monday]));
    t.step(TimeDelta::days(1));
    t.deliver().await;

    let found = usage(t, &sub.key, "account", by_day, &fields).await;
    // One message is delivered, one is undelivered and stays charged, one is rejected and refunded.
    let tuesday = json!({ "day": "2026-03-17", "figures": figures(0, 0, 1, 2, 0, 2) });
    assert_eq!(found["buckets"], json!([monday, tuesday]));
    assert_eq!(tuesday["figures"]["spent"], -2);
    assert_eq!(found["totals"], figures(3, 3, 1, 2, 6, 2));
    let own = t.ask(&sub.key, "{ account { totalSpent } }").await;
    assert_eq!(own.data()["account"]["totalSpent"], 4);
}

#[db_test]
async fn usage_agrees_with_the_ledger_for_each_account_and_the_team(t: &TestApp) {
    let (team, sub) = start(t).await;
    let other = t.sub_account(&team, json!({ "name": "Other" })).await;
    t.sub_account(&team, json!({ "name": "Silent" })).await;
    for (key, to) in [
        (&sub.key, "+12025550123"),
        (&sub.key, "+15005550001"),
        (&other.key, "+4915112345678"),
        (&team.key, "a@example.com"),
        (&team.key, "fail@example.com"),
        (&team.key, "unknown@example.com"),
    ] {
        send(t, key, json!({ "to": to, "text": "Hi" })).await;
        t.deliver().await;
    }
    let accounts = [
        (&team.main_account_id, &team.key, figures(3, 3, 1, 1, 3, 1)),
        (&sub.id, &sub.key, figures(2, 2, 1, 1, 4, 2)),
        (&other.id, &other.key, figures(1, 1, 1, 0, 3, 0)),
    ];

    let fields =
        format!("totals {{ {FIGURES} }} buckets {{ account {{ id }} figures {{ {FIGURES} }} }}");
    let by_account = json!({ "groupBy": ["ACCOUNT"] });
    let of_team = usage(t, &team.key, "team", by_account, &fields).await;
    assert_eq!(of_team["totals"], figures(6, 6, 3, 2, 10, 3));
    let buckets = accounts
        .each_ref()
        .map(|(id, _, figures)| json!({ "account": { "id": id }, "figures": figures }));
    assert_eq!(of_team["buckets"], json!(buckets));
    for (id, key, figures) in accounts {
        let own = usage(t, key, "account", json!({}), &fields).await;
        assert_eq!(own["totals"], figures);
        for (kind, field) in [("CHARGE", "charged"), ("REFUND", "refunded")] {
            let filter = json!({ "kind": [kind], "account": { "id": id } });
            let query =
                "query($filter: LedgerFilter) { ledger(filter: $filter) { nodes { amount } } }";
            let ledger = t.ask_with(&team.key, query, json!({ "filter": filter })).await;
            let entries = ledger.data()["ledger"]["nodes"].as_array().expect("a list of nodes");
            let sum: i64 = entries.iter().filter_map(|entry| entry["amount"].as_i64()).sum();
            assert_eq!(own["totals"][field], sum.abs(), "{kind} of {id}");
        }
    }
    let spent = t.ask(&team.key, "{ subAccounts { nodes { name totalSpent } } }").await;
    let spent = &spent.data()["subAccounts"]["nodes"];
    let expected = [("Silent", 0), ("Other", 3), ("Client", 2)];
    let expected = expected.map(|(name, total)| json!({ "name": name, "totalSpent": total }));
    assert_eq!(*spent, json!(expected));
}

#[db_test]
async fn test_messages_do_not_count_in_usage(t: &TestApp) {
    let (team, sub) = start(t).await;
    for account_id in [&team.main_account_id, &sub.id] {
        let key = t.api_key(&team, account_id, "TEST").await;
        for to in ["+12025550123", "+15005550001", "+15005550002"] {
            send(t, &key, json!({ "to": to, "text": "Hi" })).await;
        }
        t.deliver().await;
        let fields = format!("totals {{ {FIGURES} }} buckets {{ day }}");
        let found = usage(t, &key, "account", json!({ "groupBy": ["DAY"] }), &fields).await;
        assert_eq!(found, json!({ "totals": none(), "buckets": [] }));
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM usage_day").await, 0);
}
