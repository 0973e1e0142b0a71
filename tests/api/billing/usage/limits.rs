//! Limits of usage: the range, the number of buckets, and totals beyond the largest amount.

use db_test::db_test;
use sea_orm::DbBackend;
use serde_json::json;
use tollgate::domain::billing::usage::BUCKETS_MAX;

use super::start;
use crate::harness::TestApp;

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
