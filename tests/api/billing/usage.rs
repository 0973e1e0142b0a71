//! Usage: totals for LIVE messages, grouped by day, month, channel, country or account. Each figure is counted on the
//! UTC day of the event, for example of the send or of the refund.

use chrono::TimeDelta;
use db_test::db_test;
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tollgate::domain::billing::usage::BUCKETS_MAX;

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

/// A sub-account's key may not group usage by account.
#[db_test]
async fn a_reversed_or_too_long_range_of_usage_is_refused(t: &TestApp) {
    let (team, sub) = start(t).await;
    let query = "query($range: DateRange) { account { usage(range: $range) { from } } }";

    for (from, to, codes) in [
        ("2026-01-01", "2027-01-01", vec![]),
        ("2026-01-01", "2027-01-02", vec!["BAD_USER_INPUT"]),
        ("0000-01-01", "9999-12-31", vec!["BAD_USER_INPUT"]),
        ("0000-01-01", "0000-01-01", vec![]),
        ("9999-12-31", "9999-12-31", vec![]),
        ("2026-03-16", "2026-03-16", vec![]),
        ("2026-03-16", "2026-03-15", vec!["BAD_USER_INPUT"]),
    ] {
        let range = json!({ "range": { "from": from, "to": to } });
        for key in [&team.key, &sub.key] {
            assert_eq!(t.ask_with(key, query, range.clone()).await.codes(), codes, "{range}");
        }
        let of_team = query.replace("{ account {", "{ team {");
        assert_eq!(t.ask_with(&team.key, &of_team, range.clone()).await.codes(), codes, "{range}");
    }

    let list = "query($by: [UsageDimension!]) { account { usage(groupBy: $by) { from } } }";
    let item = "query($by: UsageDimension!) { account { usage(groupBy: [DAY, $by]) { from } } }";
    let default =
        "query($by: [UsageDimension!] = [ACCOUNT]) { account { usage(groupBy: $by) { from } } }";
    let literal = "{ account { usage(groupBy: [DAY, ACCOUNT]) { from } } }";
    let single = "{ account { usage(groupBy: ACCOUNT) { from } } }";
    for (query, variables) in [
        (list, json!({ "by": ["ACCOUNT"] })),
        (list, json!({ "by": ["DAY", "ACCOUNT"] })),
        (list, json!({ "by": "ACCOUNT" })),
        (item, json!({ "by": "ACCOUNT" })),
        (default, json!({})),
        (literal, json!({})),
        (single, json!({})),
    ] {
        let refused = t.ask_with(&sub.key, query, variables.clone()).await;
        assert_eq!(refused.codes(), ["FORBIDDEN"], "{query} with {variables}");
        let answer = t.ask_with(&team.key, query, variables.clone()).await;
        assert_eq!(answer.codes(), [""; 0], "{query} with {variables}");
    }
}

/// Adds usage to each sub-account: one row for each combination of a day and a country.
async fn add_days(t: &TestApp, days: usize, countries: usize) {
    let (day, now) = match t.app.db.backend() {
        DbBackend::Postgres => ("DATE '2026-01-01' + CAST(d.i AS integer)", "now()"),
        _ => ("date('2026-01-01', '+' || d.i || ' days')", "'2026-03-16 12:00:00+00:00'"),
    };
    let series = |name: &str, count: usize| {
        format!("{name}(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM {name} WHERE i < {count} - 1)")
    };
    t.execute(&format!(
        "INSERT INTO usage_day (account_id, day, channel, country, team_id, messages, segments, \
         delivered, failed, charged_micros, refunded_micros, updated_at) \
         WITH RECURSIVE {}, {} SELECT a.id, {day}, 'SMS', 'C' || c.i, a.team_id, 1, 1, 0, 0, 0, 0, \
         {now} FROM account a CROSS JOIN d CROSS JOIN c WHERE a.is_sub_account",
        series("d", days),
        series("c", countries),
    ))
    .await;
}

/// The limit applies to the total for all accounts on a page. A query is too large if it selects many fields for each
/// bucket, or many `usage` fields for each account.
#[db_test]
async fn the_usage_buckets_of_one_request_are_limited(t: &TestApp) {
    let (team, first) = start(t).await;
    t.sub_account(&team, json!({})).await;
    let (days, countries) = (250, BUCKETS_MAX / 2 / 250);
    add_days(t, days, countries).await;
    let arguments = |from: &str| {
        format!("range: {{ from: \"{from}\", to: \"2026-12-31\" }}, groupBy: [DAY, COUNTRY]")
    };
    let range = arguments("2026-01-01");
    let list =
        |fields: &str| format!("{{ subAccounts {{ nodes {{ usage({range}) {fields} }} }} }}");
    let of_team = |fields: &str| format!("{{ team {{ usage({range}) {fields} }} }}");

    let answer = t.ask(&team.key, &list("{ buckets { day figures { spent } } }")).await;
    let nodes = answer.data()["subAccounts"]["nodes"].as_array().expect("a list").clone();
    let counts = nodes.iter().map(|node| node["usage"]["buckets"].as_array().map_or(0, Vec::len));
    assert_eq!(counts.sum::<usize>(), BUCKETS_MAX);
    let answer = t.ask(&team.key, &of_team("{ buckets { day } }")).await;
    let buckets = answer.data()["team"]["usage"]["buckets"].as_array().map_or(0, Vec::len);
    assert_eq!(buckets, BUCKETS_MAX / 2, "both accounts have the same days and countries");

    // These short documents request ten thousand buckets with many fields each.
    let figures: String = (0..30).map(|at| format!("a{at}: figures {{ spent }} ")).collect();
    let account_keys = "{ buckets { account { apiKeys(first: 100) { nodes { id } } } } }";
    let large = format!("{{ buckets {{ {figures} }} }}");
    for query in [list(&large), of_team(account_keys)] {
        let refused = t.ask(&team.key, &query).await;
        assert!(refused.codes().contains(&"QUERY_TOO_LARGE"), "{query}: {:?}", refused.codes());
    }
    // `many` selects one `usage` field for each account on the page, and `all` selects seven.
    let many = list("{ totals { messages } }").replacen("{ subAccounts", "{ a0: subAccounts", 1);
    let all: String = (1..8)
        .map(|at| {
            let usage = arguments(&format!("2026-01-0{at}"));
            format!("u{at}: usage({usage}) {{ totals {{ messages }} }} ")
        })
        .collect();
    assert_eq!(t.ask(&team.key, &many).await.codes(), [""; 0]);
    let refused = t.ask(&team.key, &format!("{{ subAccounts {{ nodes {{ {all} }} }} }}")).await;
    assert!(refused.codes().contains(&"QUERY_TOO_LARGE"), "{:?}", refused.codes());

    // Usage on one more day for one account makes the total of the page exceed the limit.
    let day = if t.app.db.backend() == DbBackend::Postgres {
        "DATE '2026-12-31'"
    } else {
        "'2026-12-31'"
    };
    t.execute(&format!(
        "INSERT INTO usage_day SELECT account_id, {day}, channel, country, team_id, messages, \
         segments, delivered, failed, charged_micros, refunded_micros, updated_at \
         FROM usage_day LIMIT 1"
    ))
    .await;
    let refused = t.ask(&team.key, &list("{ buckets { day } }")).await;
    assert_eq!(refused.codes(), ["BAD_USER_INPUT"; 2], "one error for each account");
    let message = refused.body["errors"][0]["message"].as_str().expect("a message");
    assert!(message.contains("10000 buckets") && message.contains("shorter range"), "{message}");
    let own = format!("{{ account {{ usage({range}) {{ buckets {{ day }} }} }} }}");
    assert_eq!(t.ask(&first.key, &own).await.codes(), [""; 0]);
    t.execute("DELETE FROM usage_day").await;
}

#[db_test]
async fn totals_beyond_the_maximum_amount_are_refused_with_a_code(t: &TestApp) {
    t.set_sms_price(600_000_000_000_000).await;
    let team = t.team(100_000_000_000).await;
    for _ in 0..2 {
        t.send(&team.key, json!({ "to": "+15005550001", "text": "Hi" })).await;
        t.deliver().await;
    }

    let answer =
        t.ask(&team.key, "{ account { usage { totals { charged } } } team { name } }").await;

    assert_eq!(answer.codes(), ["BAD_USER_INPUT"]);
    assert_eq!(answer.body["data"], json!({ "account": null, "team": { "name": "Acme" } }));
}
