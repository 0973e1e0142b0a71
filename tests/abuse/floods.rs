//! Floods of control messages on sockets. The clients send as fast as possible, and read and ignore the responses.

use std::{future::pending, net::SocketAddr, sync::Arc};

use db_test::db_test;
use tokio::{io::AsyncWriteExt as _, time::sleep};

use crate::{
    Database::{self},
    attack::RETRY_PAUSE,
    fixture::Fixture,
    scale,
    socket::{PING, PROTOCOL_PING, Socket, SocketError, TEXT, frame, subscribe},
    tally::Tally,
};

/// Number of bytes per write.
const BURST_BYTES: usize = 64 * 1_024;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn floods_of_control_messages(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let key = fixture.sub_account().await.test;
    let begin_and_end = [
        subscribe("1", "subscription{balanceChanged{totalSpent}}", "{}"),
        frame(TEXT, br#"{"type":"complete","id":"1"}"#),
    ]
    .concat();
    let floods = [
        ("complete messages", frame(TEXT, br#"{"type":"complete","id":"1"}"#), true),
        ("WebSocket pings", frame(PING, b""), true),
        ("subscriptions that end at once", begin_and_end, true),
        ("pings of the protocol", frame(TEXT, PROTOCOL_PING), true),
        ("pings before a key", frame(TEXT, PROTOCOL_PING), false),
        ("long WebSocket pings before a key", frame(PING, &[b'x'; 125]), false),
    ];
    for sockets in scale(&[8][..], &[1, 8][..]) {
        for (what, frames, has_key) in &floods[..scale(3, floods.len())] {
            let burst: Arc<[u8]> = frames.repeat(BURST_BYTES / frames.len()).into();
            let name = format!("a flood of {what}, {sockets} sockets");
            fixture
                .attack(&name, &["64 KiB taken"], async |attack| {
                    for _ in 0..*sockets {
                        let (burst, target) = (Arc::clone(&burst), attack.target);
                        let tally = Arc::clone(&attack.tally);
                        let key = has_key.then(|| key.clone());
                        attack.client(async move {
                            loop {
                                let end = flood(target, key.as_deref(), &burst, &tally).await;
                                tally.said(&Err(end));
                                sleep(RETRY_PAUSE).await;
                            }
                        });
                    }
                    attack.run().await;
                })
                .await;
        }
    }
    fixture.finish().await;
}

/// Opens a socket and writes the burst repeatedly until the socket is closed. Returns why the socket was closed.
async fn flood(target: SocketAddr, key: Option<&str>, burst: &[u8], tally: &Tally) -> SocketError {
    let opened = match key {
        Some(key) => Socket::with_key(None, target, key).await,
        None => Socket::open(None, target).await,
    };
    let (mut incoming, mut outgoing) = match opened {
        Ok(socket) => socket.into_halves(),
        Err(end) => return end,
    };
    let flood = async {
        while outgoing.write_all(burst).await.is_ok() {
            tally.count("64 KiB taken");
        }
        // `listen` notices that the socket is closed, and returns the reason.
        pending().await
    };
    let listen = async {
        loop {
            if let Err(end) = incoming.next().await {
                break end;
            }
        }
    };
    tokio::select! {
        end = listen => end,
        end = flood => end,
    }
}
