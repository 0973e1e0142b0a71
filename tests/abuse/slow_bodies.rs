//! Requests that are begun and not ended, on as many connections as one address may have.

use std::{io::Result, sync::Arc, time::Duration};

use db_test::db_test;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    Database::{self},
    attack::Attack,
    process::connections_of_address,
    requests::head,
    scale,
    stage::Stage,
    wire::{Brief, Wire},
};

/// How a request is begun, and what follows now and then.
struct Slow {
    name: &'static str,
    begin: String,
    drip: &'static str,
}

/// How long it is until the next drip.
const DRIP_EVERY: Duration = Duration::from_secs(1);
/// How long it is until a connection that was refused or cut off is made again.
const REST_BETWEEN: Duration = Duration::from_secs(1);
/// Connections that are made at once: more at a time would wait for each other's second SYN.
const CONNECTING: usize = 256;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn slow_bodies(database: Database) {
    let mut stage = Stage::start(database).await;
    let account = stage.sub_account().await;
    let connections = connections_of_address();
    let with_key = head(&account.test);
    let without_key = "POST /graphql HTTP/1.1\r\nHost: tollgate\r\n";
    let inbound = head(&account.live).replacen("/graphql", "/sandbox/inbound", 1);
    let slow = |name, begin, drip| Slow { name, begin, drip };
    let attacks = [
        slow("one byte of a body", format!("{with_key}Content-Length: 1000\r\n\r\n{{"), ""),
        slow(
            "a chunked body, a byte a second",
            format!("{with_key}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n"),
            "1\r\n \r\n",
        ),
        slow("half a head", with_key.clone(), ""),
        slow("a body, a byte a second", format!("{with_key}Content-Length: 1000\r\n\r\n{{"), " "),
        slow(
            "Expect: 100-continue and no body",
            format!("{with_key}Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n"),
            "",
        ),
        slow("a head, a byte a second", with_key.clone(), "x"),
        slow("a body without a key", format!("{without_key}Content-Length: 1000\r\n\r\n{{"), ""),
        slow("a body for the sandbox", format!("{inbound}Content-Length: 1000\r\n\r\n{{"), ""),
    ];
    let count = scale(3, attacks.len());
    for attack in &attacks[..count] {
        let name = format!("{}, {connections} connections", attack.name);
        stage.attack(&name, &["begun"], async |begun| hold(begun, connections, attack).await).await;
    }
    stage.finish().await;
}

/// Begins requests, and begins anew whenever one was answered or cut off.
async fn hold(attack: &mut Attack, connections: usize, slow: &Slow) {
    let begin: Arc<[u8]> = slow.begin.as_bytes().into();
    let drip = slow.drip.as_bytes();
    let connecting = Arc::new(Semaphore::new(CONNECTING));
    for _ in 0..connections {
        let (begin, connecting) = (Arc::clone(&begin), Arc::clone(&connecting));
        let (mut wire, tally) = (Wire::new(attack.target), Arc::clone(&attack.tally));
        attack.client(async move {
            loop {
                let turn = connecting.acquire().await;
                let begun = wire.write(&begin).await;
                drop(turn);
                let answer = match begun {
                    Ok(()) => {
                        tally.count("begun");
                        wait(&mut wire, drip).await
                    }
                    Err(failure) => Err(failure),
                };
                tally.answer(&answer);
                wire.hang_up();
                sleep(REST_BETWEEN).await;
            }
        });
    }
    attack.lasts().await;
}

/// Waits for an answer, and sends some more from time to time if there is more to send.
async fn wait(wire: &mut Wire, drip: &[u8]) -> Result<Brief> {
    loop {
        let brief = match timeout(DRIP_EVERY, wire.is_answered()).await {
            Ok(()) => wire.read().await?,
            Err(_) if drip.is_empty() => continue,
            Err(_) => {
                wire.write(drip).await?;
                continue;
            }
        };
        // The server asks for the body, which it does not get.
        if brief.status != 100 {
            return Ok(brief);
        }
    }
}
