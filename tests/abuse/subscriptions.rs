//! A team sends messages and has thousands of subscriptions. Meanwhile, a probe measures how long the events of another
//! team take.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use db_test::db_test;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::{
    Database::{self},
    attack::{Attack, RETRY_PAUSE},
    client::Client,
    figures::{Times, milliseconds},
    fixture::Fixture,
    probe::{self, Probe, WAIT_MAX},
    raw_client::RawClient,
    report,
    requests::post,
    socket::{Socket, SocketError, subscribe},
};

/// Number of accounts in the attacker's team.
const ACCOUNTS: usize = 6;
/// Number of sockets per account.
const SOCKETS: usize = 10;
/// Maximum number of operations on a socket.
const OPERATIONS: usize = 50;
/// Number of messages that each account sends per second.
const MESSAGES: u32 = 10;
/// Maximum time until an event is received.
const EVENT_WITHIN: Duration = Duration::from_secs(5);
const QUERY: &str = "subscription{messageUpdated{id status}}";

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn subscriptions(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let mut keys = Vec::new();
    for _ in 0..ACCOUNTS {
        keys.push(fixture.sub_account().await.test);
    }
    let (target, key) = (fixture.server.address, fixture.probe.clone());
    let quiet = events(target, &key);
    sleep(Duration::from_secs(1)).await;
    let quiet = quiet.stop().await;

    let name = "3,000 subscriptions of 6 accounts, and 10 messages a second of each";
    let mut during = Vec::new();
    fixture
        .attack(name, &["message"], async |attack| {
            for key in &keys {
                listen(attack, key);
                send(attack, key);
            }
            let probe = events(target, &key);
            attack.run().await;
            attack.stop().await;
            during = probe.stop().await;
        })
        .await;
    let (quiet, times) =
        (Times::new(quiet.into_iter().flatten()), Times::new(during.iter().copied().flatten()));
    let missing = during.iter().filter(|event| event.is_none()).count();
    if missing > 0 || times.worst() > WAIT_MAX {
        let worst = milliseconds(times.worst());
        fixture.fail(format!("{name}: {missing} events are missing, the slowest took {worst}"));
    }
    report(&format!(
        "  events: median {}, maximum {}, median without the attack {}; {} of {} are missing",
        milliseconds(times.percentile(50)),
        milliseconds(times.worst()),
        milliseconds(quiet.percentile(50)),
        missing,
        during.len(),
    ));
    fixture.finish().await;
}

/// Opens the subscriptions, and reads their events.
fn listen(attack: &mut Attack, key: &str) {
    for _ in 0..SOCKETS {
        let (key, target, tally) = (key.to_owned(), attack.target, Arc::clone(&attack.tally));
        attack.client(async move {
            loop {
                let end = async {
                    let mut socket = Socket::with_key(None, target, &key).await?;
                    for operation in 0..OPERATIONS {
                        socket.send(&subscribe(&operation.to_string(), QUERY, "{}")).await?;
                    }
                    loop {
                        tally.said(&Ok(socket.next().await?));
                    }
                };
                let end: Result<(), SocketError> = end.await;
                tally.said(&end.map(|()| String::new()));
                sleep(RETRY_PAUSE).await;
            }
        });
    }
}

/// Sends messages to cause events.
fn send(attack: &mut Attack, key: &str) {
    let send = "mutation { sendMessage(input: { to: \"+12025550123\", text: \"Hello\" }) \
                { errors { code } } }";
    let (request, mut client) = (post(key, send, &json!({})), RawClient::new(attack.target));
    attack.client(async move {
        loop {
            let _ = client.ask(&request).await;
            sleep(Duration::from_secs(1) / MESSAGES).await;
        }
    });
}

/// Sends messages regularly, and returns how long the first event for each message took.
fn events(target: SocketAddr, key: &str) -> Probe<Vec<Option<Duration>>> {
    const SEND: &str = "mutation { sendMessage(input: { to: \"+12025550124\", text: \"Hello\" }) \
                        { message { id } } }";
    let key = key.to_owned();
    Probe::start(move |stop| async move {
        let mut events = Vec::new();
        let Ok(mut socket) = Socket::with_key(Some(probe::ADDRESS), target, &key).await else {
            return vec![None];
        };
        let _ = socket.send(&subscribe("1", QUERY, "{}")).await;
        let mut client = Client::new_from(probe::ADDRESS, target);
        // The protocol does not confirm that a subscription has begun, so the probe waits.
        sleep(Duration::from_millis(200)).await;
        while !stop.is_set() {
            let begun = Instant::now();
            let sent = client.graphql(&key, SEND, &json!({})).await;
            let sent = sent.map(|answer| answer.json()).unwrap_or_default();
            let id = sent["data"]["sendMessage"]["message"]["id"].as_str().unwrap_or("none");
            let event = timeout(EVENT_WITHIN, async {
                loop {
                    match socket.next().await {
                        Ok(text) if text.contains(id) => break Some(begun.elapsed()),
                        Ok(_) => {}
                        Err(_) => break None,
                    }
                }
            });
            events.push(event.await.ok().flatten());
            sleep(Duration::from_millis(100)).await;
        }
        events
    })
}
