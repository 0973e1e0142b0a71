//! Requests for usage with many buckets. The estimated cost of a request does not depend on the number of buckets.

use db_test::db_test;
use sea_orm::{ConnectionTrait as _, DbBackend};
use serde_json::json;
use tollgate::db::Db;

use crate::{
    Database::{self},
    fixture::Fixture,
    requests::post,
    scale,
};

const CONNECTIONS: usize = 8;
const ACCOUNTS: usize = 20;
/// Number of days with usage. Each account has a bucket for each combination of a day and a country.
const DAYS: usize = 250;
const COUNTRIES: usize = 40;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn many_buckets(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let mut key = String::new();
    for _ in 0..ACCOUNTS {
        key = fixture.sub_account().await.test;
    }
    fill(&fixture).await;
    let usage = |day: usize| {
        format!(
            "usage(range:{{from:\"2025-01-{day:02}\",to:\"2025-12-31\"}},groupBy:[DAY,CHANNEL,COUNTRY])"
        )
    };
    let buckets = "{buckets{day channel country figures{spent charged refunded messages}}}";
    let of_many = format!("{{ subAccounts(first:100) {{ nodes {{ {} {buckets} }} }} }}", usage(1));
    let thirty: String = (1..=30).map(|day| format!("u{day}:{} {buckets} ", usage(day))).collect();
    let figures: String = (0..30).map(|at| format!("f{at}:figures{{spent}} ")).collect();
    let kinds = [
        ("of 20 accounts", post(&fixture.attacker, &of_many, &json!({}))),
        ("of 30 ranges", post(&key, &format!("{{ account {{ {thirty} }} }}"), &json!({}))),
        (
            "with 30 figures each",
            post(
                &key,
                &format!("{{ account {{ {} {{ buckets {{ {figures} }} }} }} }}", usage(1)),
                &json!({}),
            ),
        ),
    ];
    let expected = &["200", "BAD_USER_INPUT", "QUERY_TOO_LARGE"];
    for (what, request) in kinds.into_iter().take(scale(2, 3)) {
        let name = format!("10,000 buckets {what}, {CONNECTIONS} connections");
        fixture
            .attack(&name, expected, async |attack| {
                attack.repeat(CONNECTIONS, &[request]);
                attack.run().await;
            })
            .await;
    }
    fixture.finish().await;
}

/// Inserts usage without messages for each sub-account directly into the database. All totals stay correct.
async fn fill(fixture: &Fixture) {
    let db = Db::connect(&fixture.url, 1).await.expect("the database opens");
    let (day, now) = match db.backend() {
        DbBackend::Postgres => ("DATE '2025-01-01' + CAST(d.i AS integer)", "now()"),
        _ => ("date('2025-01-01', '+' || d.i || ' days')", "'2026-03-16 12:00:00+00:00'"),
    };
    let series = |name: &str, count: usize| {
        format!("{name}(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM {name} WHERE i < {count} - 1)")
    };
    let insert = format!(
        "INSERT INTO usage_day (account_id, day, channel, country, team_id, messages, segments, \
         delivered, failed, charged_micros, refunded_micros, updated_at) \
         WITH RECURSIVE {}, {} SELECT a.id, {day}, 'SMS', 'C' || c.i, a.team_id, 0, 0, 0, 0, 0, 0, \
         {now} FROM account a CROSS JOIN d CROSS JOIN c WHERE a.is_sub_account",
        series("d", DAYS),
        series("c", COUNTRIES),
    );
    db.write.execute_unprepared(&insert).await.expect("the days are inserted");
    db.close().await.expect("the connections close");
}
