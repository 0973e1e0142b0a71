//! Incomplete requests on as many connections as one address may have.

use std::{io::Result, sync::Arc, time::Duration};

use db_test::db_test;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    Database::{self},
    attack::Attack,
    fixture::Fixture,
    process::connections_per_address,
    raw_client::{RawClient, ResponseStart},
    requests::head,
    scale,
};

/// The beginning of a request, and the bytes that are then sent at intervals.
struct Slow {
    name: &'static str,
    begin: String,
    drip: &'static str,
}

/// Interval at which a client sends further bytes of an incomplete request.
const DRIP_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before a connection that was refused or closed is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of connections that are opened concurrently. If more connections are opened at once, SYN packets are
/// lost and have to be sent again.
const CONCURRENT_CONNECTS: usize = 256;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn slow_bodies(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let account = fixture.sub_account().await;
    let connections = connections_per_address();
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
        fixture
            .attack(&name, &["begun"], async |begun| hold(begun, connections, attack).await)
            .await;
    }
    fixture.finish().await;
}

/// Sends incomplete requests, and begins again when the server responds or closes the connection.
async fn hold(attack: &mut Attack, connections: usize, slow: &Slow) {
    let begin: Arc<[u8]> = slow.begin.as_bytes().into();
    let drip = slow.drip.as_bytes();
    let connecting = Arc::new(Semaphore::new(CONCURRENT_CONNECTS));
    for _ in 0..connections {
        let (begin, connecting) = (Arc::clone(&begin), Arc::clone(&connecting));
        let (mut client, tally) = (RawClient::new(attack.target), Arc::clone(&attack.tally));
        attack.client(async move {
            loop {
                let permit = connecting.acquire().await;
                let begun = client.write(&begin).await;
                drop(permit);
                let answer = match begun {
                    Ok(()) => {
                        tally.count("begun");
                        wait(&mut client, drip).await
                    }
                    Err(failure) => Err(failure),
                };
                tally.answer(&answer);
                client.hang_up();
                sleep(RECONNECT_PAUSE).await;
            }
        });
    }
    attack.run().await;
}

/// Sends further bytes at intervals until there is a response, and returns the response.
async fn wait(client: &mut RawClient, drip: &[u8]) -> Result<ResponseStart> {
    loop {
        let brief = match timeout(DRIP_INTERVAL, client.is_answered()).await {
            Ok(()) => client.read().await?,
            Err(_) if drip.is_empty() => continue,
            Err(_) => {
                client.write(drip).await?;
                continue;
            }
        };
        // With status 100, the server asks for the body, which is never sent.
        if brief.status != 100 {
            return Ok(brief);
        }
    }
}
