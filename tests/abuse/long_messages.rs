//! Requests of 200 KB that would each store 78 MB of long messages. The requests use a TEST key, so that nothing is
//! charged.

use db_test::db_test;
use serde_json::json;

use crate::{
    Database::{self},
    fixture::Fixture,
    requests::{post, send_400},
    scale,
};

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn long_messages(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let key = fixture.sub_account().await.test;
    let long = "Lorem ipsum ".repeat(100 * 1_024 / 12);
    let whole = json!({ "to": "ada@example.com", "subject": "Hi", "text": long, "html": long });
    // A request with 400 of these messages is just below the limit of 2 MiB.
    let short = json!({ "to": "ada@example.com", "subject": "Hi", "text": &long[..5_000] });

    for connections in scale(&[12][..], &[2, 12, 60][..]) {
        let request = post(&key, &send_400(), &json!({ "m": whole }));
        let name = format!("400 e-mails of 200 KB a call, {connections} connections");
        fixture
            .attack(&name, &["QUERY_TOO_LARGE"], async |attack| {
                attack.repeat(*connections, &[request]);
                attack.run().await;
            })
            .await;
    }
    let request = post(&key, &send_400(), &json!({ "m": short }));
    fixture
        .attack("400 e-mails of 5 KB a call, 12 connections", &["200"], async |attack| {
            attack.repeat(12, &[request]);
            attack.run().await;
        })
        .await;
    fixture.finish().await;
}
