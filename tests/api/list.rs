//! Lists that have more rows than the server counts or reads for one page.

use db_test::db_test;
use sea_orm::DbBackend;
use serde_json::{Value, json};
use tollgate::domain::list::{LOOKED_AT_MAX, TOTAL_MAX};

use crate::harness::{TestApp, TestTeam};

/// Adds opt-outs with the numbers `from..to` to a team's main account. The opt-out with the greatest number is added
/// last.
async fn add(t: &TestApp, team: &TestTeam, from: u64, to: u64) {
    let (team_id, account_id) = (&team.id, &team.main_account_id);
    let (id, team_id, account_id, now) = match t.app.db.backend() {
        DbBackend::Postgres => (
            "('01000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid",
            format!("'{team_id}'::uuid"),
            format!("'{account_id}'::uuid"),
            "timestamptz '2026-03-16 12:00:00+00:00'",
        ),
        _ => (
            "unhex('01000000000070008000' || printf('%012x', i))",
            format!("unhex('{}')", team_id.replace('-', "")),
            format!("unhex('{}')", account_id.replace('-', "")),
            "'2026-03-16 12:00:00+00:00'",
        ),
    };
    let last = to - 1;
    t.execute(&format!(
        "INSERT INTO opt_out (id, team_id, account_id, channel, address, source, created_at) \
         WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
         SELECT {id}, {team_id}, {account_id}, 'SMS', '+1202' || (5000000 + i), 'API', {now} FROM n"
    ))
    .await;
}

async fn page(t: &TestApp, key: &str, args: &str) -> Value {
    let query = format!(
        "{{ optOuts({args}) {{ totalCount nodes {{ address }} \
         pageInfo {{ hasPreviousPage hasNextPage startCursor endCursor }} }} }}"
    );
    let answer = t.ask(key, &query).await;
    assert_eq!(answer.codes(), [""; 0], "{query}: {}", answer.body);
    answer.data()["optOuts"].clone()
}

#[db_test]
async fn a_total_count_stops_at_10000(t: &TestApp) {
    let team = t.team(1_000).await;

    let mut rows = 0;
    for (more, total) in [(TOTAL_MAX - 1, 9_999), (1, 10_000), (1, 10_000)] {
        add(t, &team, rows, rows + more).await;
        rows += more;
        assert_eq!(page(t, &team.key, "first: 0").await["totalCount"], json!(total));
        assert_eq!(page(t, &team.key, "last: 1").await["totalCount"], json!(total));
    }
}

/// If too few of the rows that were read match the filter, the page has fewer rows than requested. The page's cursor
/// leads to the next rows, in both directions, and the total count is null.
#[db_test]
async fn a_filtered_page_reads_at_most_10000_rows(t: &TestApp) {
    let team = t.team(1_000).await;
    let (oldest, newest) = ("+12025000000", format!("+1202{}", 5_000_000 + LOOKED_AT_MAX));
    let found = |address: &str| json!([{ "address": address }]);
    let search = |address: &str| format!("filter: {{ search: \"{address}\" }}");

    // With exactly as many rows as the limit, the oldest row is found and counted.
    add(t, &team, 0, LOOKED_AT_MAX).await;
    let whole = page(t, &team.key, &search(oldest)).await;
    assert_eq!((&whole["nodes"], &whole["totalCount"]), (&found(oldest), &json!(1)));
    assert_eq!(whole["pageInfo"]["hasNextPage"], json!(false));

    // With one row more than the limit, the last row in each direction is on the next page.
    add(t, &team, LOOKED_AT_MAX, LOOKED_AT_MAX + 1).await;
    for (address, size, from, more, lead) in [
        (oldest, "first: 5", "after", "hasNextPage", "endCursor"),
        (newest.as_str(), "last: 5", "before", "hasPreviousPage", "startCursor"),
    ] {
        let args = format!("{}, {size}", search(address));
        let short = page(t, &team.key, &args).await;
        let info = &short["pageInfo"];
        assert_eq!((&short["nodes"], &short["totalCount"]), (&json!([]), &json!(null)), "{size}");
        assert_eq!(info[more], json!(true), "{size}");
        assert!(info[lead].is_string(), "{size}");

        let next = page(t, &team.key, &format!("{args}, {from}: {}", info[lead])).await;
        assert_eq!((&next["nodes"], &next["totalCount"]), (&found(address), &json!(null)));
        assert_eq!(next["pageInfo"][more], json!(false), "{size}");
    }

    // The cursor of a full page is that of its last node.
    let full = page(t, &team.key, "filter: { channel: [SMS] }, first: 2").await;
    let second = format!("+1202{}", 5_000_000 + LOOKED_AT_MAX - 1);
    assert_eq!(full["nodes"], json!([{ "address": newest }, { "address": second }]));
    assert_eq!(full["totalCount"], json!(null));
    assert_eq!(full["pageInfo"]["hasNextPage"], json!(true));
}
