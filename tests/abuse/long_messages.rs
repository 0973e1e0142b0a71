//! Long messages: a request of 200 KB that makes 78 MB of rows, by a key that pays for nothing.

use db_test::db_test;
use serde_json::json;

use crate::{
    Database::{self},
    requests::{post, send_400},
    scale,
    stage::Stage,
};

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn long_messages(database: Database) {
    let mut stage = Stage::start(database).await;
    let key = stage.sub_account().await.test;
    let long = "Lorem ipsum ".repeat(100 * 1_024 / 12);
    let whole = json!({ "to": "ada@example.com", "subject": "Hi", "text": long, "html": long });
    // So long that a call with 400 of them just passes a bound of two mebibytes.
    let short = json!({ "to": "ada@example.com", "subject": "Hi", "text": &long[..5_000] });

    for connections in scale(&[12][..], &[2, 12, 60][..]) {
        let request = post(&key, &send_400(), &json!({ "m": whole }));
        let name = format!("400 e-mails of 200 KB a call, {connections} connections");
        stage
            .attack(&name, &["QUERY_TOO_LARGE"], async |attack| {
                attack.repeat(*connections, &[request]);
                attack.lasts().await;
            })
            .await;
    }
    let request = post(&key, &send_400(), &json!({ "m": short }));
    stage
        .attack("400 e-mails of 5 KB a call, 12 connections", &["200"], async |attack| {
            attack.repeat(12, &[request]);
            attack.lasts().await;
        })
        .await;
    stage.finish().await;
}
