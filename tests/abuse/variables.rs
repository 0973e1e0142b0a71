//! Variables that no operation declares, and that are large: held by subscriptions, and sent by many
//! connections that complete their bodies at one moment.

use std::{net::SocketAddr, sync::Arc};

use db_test::db_test;
use tokio::{sync::Barrier, time::sleep};

use crate::{
    Database::{self},
    attack::{Attack, REST_AFTER_FAILURE},
    bombs::list,
    requests::post_body,
    scale,
    socket::{Shut, Socket, subscribe},
    stage::Stage,
    tally::Tally,
    wire::Wire,
};

/// Operations that one socket may have under way.
const OPERATIONS: usize = 50;
/// Connections that complete a body at one moment.
const CONNECTIONS: usize = 400;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn undeclared_variables(database: Database) {
    let mut stage = Stage::start(database).await;
    let key = stage.sub_account().await.test;

    // As many values as a request may have, and more.
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
        stage
            .attack(&name, sent, async |attack| hold(attack, &key, sockets, &variables).await)
            .await;

        let body = format!(r#"{{"query":"{{account{{name}}}}","variables":{variables}}}"#);
        let request = post_body(&key, &body);
        let name = format!("{CONNECTIONS} bodies with {of} that end at one moment");
        stage
            .attack(&name, &[expected], async |attack| complete_at_once(attack, &request).await)
            .await;
    }
    stage.finish().await;
}

/// Opens sockets with as many subscriptions as each may have, and listens.
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
                sleep(REST_AFTER_FAILURE).await;
            }
        });
    }
    attack.lasts().await;
}

/// Begins the subscriptions on one socket, and gives its end.
async fn subscribe_and_listen(
    target: SocketAddr,
    key: &str,
    frames: &[Vec<u8>],
    tally: &Tally,
) -> Shut {
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

/// Sends all of a request but its last byte, waits until all others have as well, and ends it.
async fn complete_at_once(attack: &mut Attack, request: &Arc<[u8]>) {
    let all_have_begun = Arc::new(Barrier::new(CONNECTIONS));
    for _ in 0..CONNECTIONS {
        let (request, all_have_begun) = (Arc::clone(request), Arc::clone(&all_have_begun));
        let (mut wire, tally) = (Wire::new(attack.target), Arc::clone(&attack.tally));
        attack.client(async move {
            let (begin, end) = request.split_at(request.len() - 1);
            loop {
                let begun = wire.write(begin).await;
                all_have_begun.wait().await;
                let answer = match begun {
                    Ok(()) => wire.ask(end).await,
                    // It may have been refused in the meantime.
                    Err(failure) => wire.read().await.map_err(|_| failure),
                };
                tally.answer(&answer);
                if answer.is_err() {
                    wire.hang_up();
                    sleep(REST_AFTER_FAILURE).await;
                }
            }
        });
    }
    attack.lasts().await;
}
