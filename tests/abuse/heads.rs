//! Large heads, before there is a key: those that take long to be read, and those that are held half-way.

use std::sync::Arc;

use db_test::db_test;
use tokio::time::sleep;

use crate::{
    Database::{self},
    attack::{Attack, REST_AFTER_FAILURE},
    process::connections_of_address,
    scale,
    stage::Stage,
    wire::Wire,
};

const KIBIBYTE: usize = 1_024;
/// Bytes that all heads that are held half-way have together at most: what this process sends is in the
/// system's buffers too.
const HELD_BYTES: usize = 200_000_000;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_heads(database: Database) {
    let mut stage = Stage::start(database).await;
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
        stage
            .attack(name, &[expected], async |attack| {
                attack.repeat(16, &[request]);
                attack.lasts().await;
            })
            .await;
    }
    for kibibytes in scale(&[30][..], &[126, 60, 30, 8][..]) {
        let connections = connections_of_address().min(HELD_BYTES / (kibibytes * KIBIBYTE));
        let name = format!("half a head of {kibibytes} KiB, {connections} connections");
        let head = format!(
            "GET /graphql HTTP/1.1\r\nHost: tollgate\r\nX-Long: {}",
            "x".repeat(kibibytes * KIBIBYTE)
        );
        let head = head.into_bytes().into();
        stage
            .attack(&name, &["begun"], async |attack| hold(attack, connections, &head).await)
            .await;
    }
    stage.finish().await;
}

/// Begins heads, and begins anew whenever one was answered or cut off.
async fn hold(attack: &mut Attack, connections: usize, head: &Arc<[u8]>) {
    for _ in 0..connections {
        let (mut wire, tally) = (Wire::new(attack.target), Arc::clone(&attack.tally));
        let head = Arc::clone(head);
        attack.client(async move {
            loop {
                let begun = wire.write(&head).await;
                if begun.is_ok() {
                    tally.count("begun");
                }
                // It may have been refused in the meantime.
                tally.answer(&wire.read().await);
                wire.hang_up();
                sleep(REST_AFTER_FAILURE).await;
            }
        });
    }
    attack.lasts().await;
}
