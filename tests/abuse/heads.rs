//! Large request heads without an API key. Some of them are slow to parse, and some are never completed.

use std::sync::Arc;

use db_test::db_test;
use tokio::time::sleep;

use crate::{
    Database::{self},
    attack::{Attack, RETRY_PAUSE},
    fixture::Fixture,
    process::connections_per_address,
    raw_client::RawClient,
    scale,
};

const KIBIBYTE: usize = 1_024;
/// Maximum total size of all incomplete heads, in bytes. The size is limited because the heads also fill the socket
/// buffers of this machine.
const HELD_BYTES: usize = 200_000_000;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_heads(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let kinds = [
        ("Accept of 28 KB, 16 connections", "a/b,", 28, "UNAUTHENTICATED"),
        ("Accept of 120 KB, 16 connections", "text/html;q=0.1,", 120, "431"),
    ];
    for (name, range, kibibytes, expected) in kinds.into_iter().take(scale(1, 2)) {
        let accept = range.repeat(kibibytes * KIBIBYTE / range.len());
        let request: Arc<[u8]> = format!(
            "GET /graphql?query=%7B__typename%7D HTTP/1.1\r\nHost: tollgate\r\nAccept: {accept}*/*\r\n\r\n"
        )
        .into_bytes()
        .into();
        fixture
            .attack(name, &[expected], async |attack| {
                attack.repeat(16, &[request]);
                attack.run().await;
            })
            .await;
    }
    for kibibytes in scale(&[30][..], &[126, 60, 30, 8][..]) {
        let connections = connections_per_address().min(HELD_BYTES / (kibibytes * KIBIBYTE));
        let name = format!("half a head of {kibibytes} KiB, {connections} connections");
        let head = format!(
            "GET /graphql HTTP/1.1\r\nHost: tollgate\r\nX-Long: {}",
            "x".repeat(kibibytes * KIBIBYTE)
        );
        let head = head.into_bytes().into();
        fixture
            .attack(&name, &["begun"], async |attack| hold(attack, connections, &head).await)
            .await;
    }
    fixture.finish().await;
}

/// Sends incomplete heads, and begins again when the server responds or closes the connection.
async fn hold(attack: &mut Attack, connections: usize, head: &Arc<[u8]>) {
    for _ in 0..connections {
        let (mut client, tally) = (RawClient::new(attack.target), Arc::clone(&attack.tally));
        let head = Arc::clone(head);
        attack.client(async move {
            loop {
                let begun = client.write(&head).await;
                if begun.is_ok() {
                    tally.count("begun");
                }
                // The server may have refused the incomplete head in the meantime.
                tally.answer(&client.read().await);
                client.hang_up();
                sleep(RETRY_PAUSE).await;
            }
        });
    }
    attack.run().await;
}
