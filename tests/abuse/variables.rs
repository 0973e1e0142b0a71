//! Large variables that the document does not declare. They are sent in subscriptions, and in requests on many
//! connections whose bodies are completed at the same moment.

use std::{net::SocketAddr, sync::Arc};

use db_test::db_test;
use tokio::{sync::Barrier, time::sleep};

use crate::{
    Database::{self},
    attack::{Attack, RETRY_PAUSE},
    bombs::list,
    fixture::Fixture,
    raw_client::RawClient,
    requests::post_body,
    scale,
    socket::{Socket, SocketError, subscribe},
    tally::Tally,
};

/// Maximum number of operations on a socket.
const OPERATIONS: usize = 50;
/// Number of connections that complete a body at the same moment.
const CONNECTIONS: usize = 400;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn undeclared_variables(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let key = fixture.sub_account().await.test;

    // Variables with nearly the maximum number of values, and variables with more than the maximum.
    let kinds = [
        ("19,000 zeros", "0", 19_000, "200"),
        ("19,000 empty lists", "[]", 19_000, "200"),
        ("100,000 zeros", "0", 100_000, "BAD_USER_INPUT"),
    ];
    for (of, value, count, expected) in kinds.into_iter().take(scale(1, 3)) {
        let values = list(value, count);
        let variables = format!(r#"{{"x":{values}}}"#);
        let sockets = scale(6, 30);
        let name = format!("{sockets} sockets with 50 subscriptions each that hold {of}");
        let sent = &["subscribe sent"];
        fixture
            .attack(&name, sent, async |attack| hold(attack, &key, sockets, &variables).await)
            .await;

        let body = format!(r#"{{"query":"{{account{{name}}}}","variables":{variables}}}"#);
        let request = post_body(&key, &body);
        let name = format!("{CONNECTIONS} bodies with {of} that end at one moment");
        fixture
            .attack(&name, &[expected], async |attack| complete_at_once(attack, &request).await)
            .await;
    }
    fixture.finish().await;
}

/// Opens sockets with the maximum number of subscriptions, and reads from them.
async fn hold(attack: &mut Attack, key: &str, sockets: usize, variables: &str) {
    let query = "subscription{balanceChanged{totalSpent}}";
    let frames: Arc<Vec<Vec<u8>>> =
        Arc::new((0..OPERATIONS).map(|at| subscribe(&at.to_string(), query, variables)).collect());
    for _ in 0..sockets {
        let (key, frames) = (key.to_owned(), Arc::clone(&frames));
        let (target, tally) = (attack.target, Arc::clone(&attack.tally));
        attack.client(async move {
            loop {
                let end = subscribe_and_listen(target, &key, &frames, &tally).await;
                tally.said(&Err(end));
                sleep(RETRY_PAUSE).await;
            }
        });
    }
    attack.run().await;
}

/// Begins the subscriptions on one socket, and returns why the socket was closed.
async fn subscribe_and_listen(
    target: SocketAddr,
    key: &str,
    frames: &[Vec<u8>],
    tally: &Tally,
) -> SocketError {
    let mut socket = match Socket::with_key(None, target, key).await {
        Ok(socket) => socket,
        Err(end) => return end,
    };
    for frame in frames {
        if let Err(failure) = socket.send(frame).await {
            return failure.into();
        }
        tally.count("subscribe sent");
    }
    loop {
        match socket.next().await {
            Err(end) => return end,
            said => tally.said(&said),
        }
    }
}

/// On each connection, sends a request without the last byte, waits until all connections have done so, and sends the
/// last byte.
async fn complete_at_once(attack: &mut Attack, request: &Arc<[u8]>) {
    let all_have_begun = Arc::new(Barrier::new(CONNECTIONS));
    for _ in 0..CONNECTIONS {
        let (request, all_have_begun) = (Arc::clone(request), Arc::clone(&all_have_begun));
        let (mut client, tally) = (RawClient::new(attack.target), Arc::clone(&attack.tally));
        attack.client(async move {
            let (begin, end) = request.split_at(request.len() - 1);
            loop {
                let begun = client.write(begin).await;
                all_have_begun.wait().await;
                let answer = match begun {
                    Ok(()) => client.ask(end).await,
                    // The server may have refused the incomplete request in the meantime.
                    Err(failure) => client.read().await.map_err(|_| failure),
                };
                tally.answer(&answer);
                if answer.is_err() {
                    client.hang_up();
                    sleep(RETRY_PAUSE).await;
                }
            }
        });
    }
    attack.run().await;
}
