//! Requests with thirty counts or searches each, in an account with many messages. The estimated cost of the requests
//! is low, but they are expensive for the database.

use std::{sync::Arc, time::Duration};

use db_test::db_test;
use entity::message;
use sea_orm::{ConnectionTrait as _, DbBackend, IdenStatic as _, Iterable as _};
use serde_json::{Value, json};
use tollgate::db::Db;

use crate::{
    Database::{self},
    eventually,
    fixture::Fixture,
    report,
    requests::{post, thirty},
    scale,
};

/// Number of rows that are inserted per transaction. The server must be able to write between two transactions.
const ROWS_PER_TRANSACTION: u32 = 10_000;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn counts_and_searches(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let key = fixture.sub_account().await.test;
    fill(&fixture, &key, scale(50_000, 1_000_000)).await;
    let ask = |field: &str| post(&key, &format!("{{ {} }}", thirty(field)), &json!({}));
    let count = ask(r#"messages(first:0,filter:{to:"+12025550000"}){totalCount}"#);
    let others: Vec<Arc<[u8]>> = [
        "messages(first:0){totalCount}",
        "messages(first:0,filter:{status:[DELIVERED,SENT],channel:[SMS,EMAIL]}){totalCount}",
        "messages(first:0,filter:{status:[EXPIRED]}){totalCount}",
        r#"messages(first:0,filter:{createdAt:{from:"2020-01-01T00:00:00Z"}}){totalCount}"#,
        r#"messages(first:1,filter:{to:"+12025559999"}){nodes{id}}"#,
        r#"messages(last:1,filter:{to:"nobody@example.com"}){nodes{id}}"#,
        "messages(first:1,filter:{status:[EXPIRED],channel:[TELEGRAM]}){nodes{id}}",
        r#"messages(first:50,filter:{createdAt:{from:"2099-01-01T00:00:00Z"}}){nodes{id}}"#,
    ]
    .iter()
    .map(|field| ask(field))
    .collect();

    for connections in scale(&[8][..], &[1, 2, 8][..]) {
        let name = format!("30 counts by recipient a request, {connections} connections");
        fixture
            .attack(&name, &["200"], async |attack| {
                attack.repeat(*connections, &[Arc::clone(&count)]);
                attack.run().await;
            })
            .await;
    }
    fixture
        .attack("30 other counts and searches a request, 8 connections", &["200"], async |attack| {
            attack.repeat(8, &others);
            attack.run().await;
        })
        .await;
    fixture.finish().await;
}

/// Inserts messages for the account of the TEST key directly into the database.
async fn fill(fixture: &Fixture, key: &str, messages: u32) {
    let send = "mutation { sendMessage(input: { to: \"+12025550000\", text: \"Hello\" }) \
                { message { id } errors { code } } }";
    let sent = fixture.ask(key, send, json!({})).await;
    let id = sent["sendMessage"]["message"]["id"].as_str().expect("an id").to_owned();
    eventually(Duration::from_secs(10), "a TEST message is delivered", async || {
        let status = "query($id: ID!) { message(id: $id) { status } }";
        let seen: Value = fixture.ask(key, status, json!({ "id": id })).await;
        seen["message"]["status"] == "DELIVERED"
    })
    .await;

    let db = Db::connect(&fixture.url, 1).await.expect("the database opens");
    let columns: Vec<&str> = message::Column::iter()
        .map(|column| column.as_str())
        .filter(|name| *name != "id")
        .collect();
    let columns = columns.join(", ");
    let (new_id, series) = match db.backend() {
        DbBackend::Postgres => (
            "(substr(one.id::text, 1, 13) || substr(gen_random_uuid()::text, 14))::uuid",
            format!("generate_series(1, {ROWS_PER_TRANSACTION}) AS series"),
        ),
        _ => (
            "substr(one.id, 1, 6) || randomblob(10)",
            format!(
                "(WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series \
                 WHERE n < {ROWS_PER_TRANSACTION}) SELECT n FROM series)"
            ),
        ),
    };
    // The statement copies a TEST message. Only the attacker's account has TEST messages. The ids and times of all
    // copies are in the same millisecond.
    let insert = format!(
        "INSERT INTO message (id, {columns}) SELECT {new_id}, {columns} FROM \
         (SELECT * FROM message WHERE environment = 'TEST' AND status = 'DELIVERED' LIMIT 1) \
         AS one CROSS JOIN {series}"
    );
    for _ in 0..messages.div_ceil(ROWS_PER_TRANSACTION) {
        db.write.execute_unprepared(&insert).await.expect("the messages are inserted");
    }
    // The counts in the row of the account must include the new messages, because the reconciliation compares the
    // counts with the messages.
    let of = "FROM message m WHERE m.account_id = account.id AND m.environment = 'TEST'";
    let count = format!(
        "UPDATE account SET test_message_count = (SELECT COUNT(*) {of}), \
         test_message_bytes = (SELECT COALESCE(SUM(m.word_bytes), 0) {of})"
    );
    db.write.execute_unprepared(&count).await.expect("the messages are counted");
    if db.backend() == DbBackend::Postgres {
        db.write.execute_unprepared("ANALYZE message").await.expect("the table is analyzed");
    }
    db.close().await.expect("the connections close");
    report(&format!("  {messages} messages were inserted"));
}
