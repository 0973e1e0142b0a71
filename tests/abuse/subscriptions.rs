//! Subscriptions by the thousand, of a team that sends: beside them another team's event is timed.

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
    attack::{Attack, REST_AFTER_FAILURE},
    client::Client,
    figures::{Times, milliseconds},
    probe::{self, Probe, WAIT_MAX},
    requests::post,
    say,
    socket::{Shut, Socket, subscribe},
    stage::Stage,
    wire::Wire,
};

/// Accounts of the attack's team, and sockets of each.
const ACCOUNTS: usize = 6;
const SOCKETS: usize = 10;
/// Operations that one socket may have under way.
const OPERATIONS: usize = 50;
/// Messages a second that each account sends.
const MESSAGES: u32 = 10;
/// How long an event is waited for.
const EVENT_WITHIN: Duration = Duration::from_secs(5);
const QUERY: &str = "subscription{messageUpdated{id status}}";

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn subscriptions(database: Database) {
    let mut stage = Stage::start(database).await;
    let mut keys = Vec::new();
    for _ in 0..ACCOUNTS {
        keys.push(stage.sub_account().await.test);
    }
    let (target, key) = (stage.server.address, stage.probe.clone());
    let quiet = events(target, &key);
    sleep(Duration::from_secs(1)).await;
    let quiet = quiet.stop().await;

    let name = "3,000 subscriptions of 6 accounts, and 10 messages a second of each";
    let mut during = Vec::new();
    stage
        .attack(name, &["message"], async |attack| {
            for key in &keys {
                listen(attack, key);
                send(attack, key);
            }
            let probe = events(target, &key);
            attack.lasts().await;
            attack.stop().await;
            during = probe.stop().await;
        })
        .await;
    let (quiet, times) =
        (Times::new(quiet.into_iter().flatten()), Times::new(during.iter().copied().flatten()));
    let missing = during.iter().filter(|event| event.is_none()).count();
    if missing > 0 || times.worst() > WAIT_MAX {
        let worst = milliseconds(times.worst());
        stage.fails(format!("{name}: {missing} events did not come, the last after {worst}"));
    }
    say(&format!(
        "  events after {} in the middle and {} at worst, without the attack after {}; {} of {} did not come",
        milliseconds(times.percentile(50)),
        milliseconds(times.worst()),
        milliseconds(quiet.percentile(50)),
        missing,
        during.len(),
    ));
    stage.finish().await;
}

/// Opens the subscriptions, and reads what they tell.
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
                let end: Result<(), Shut> = end.await;
                tally.said(&end.map(|()| String::new()));
                sleep(REST_AFTER_FAILURE).await;
            }
        });
    }
}

/// Sends messages that the subscriptions are about.
fn send(attack: &mut Attack, key: &str) {
    let send = "mutation { sendMessage(input: { to: \"+12025550123\", text: \"Hello\" }) \
                { errors { code } } }";
    let (request, mut wire) = (post(key, send, &json!({})), Wire::new(attack.target));
    attack.client(async move {
        loop {
            let _ = wire.ask(&request).await;
            sleep(Duration::from_secs(1) / MESSAGES).await;
        }
    });
}

/// Sends a message now and then, and gives the time until the first event of it.
fn events(target: SocketAddr, key: &str) -> Probe<Vec<Option<Duration>>> {
    const SEND: &str = "mutation { sendMessage(input: { to: \"+12025550124\", text: \"Hello\" }) \
                        { message { id } } }";
    let key = key.to_owned();
    Probe::start(move |over| async move {
        let mut events = Vec::new();
        let Ok(mut socket) = Socket::with_key(Some(probe::ADDRESS), target, &key).await else {
            return vec![None];
        };
        let _ = socket.send(&subscribe("1", QUERY, "{}")).await;
        let mut client = Client::new_from(probe::ADDRESS, target);
        // The subscription listens once something that was said after it is answered.
        sleep(Duration::from_millis(200)).await;
        while !over.is_so() {
            let begun = Instant::now();
            let sent = client.graphql(&key, SEND, &json!({})).await;
            let sent = sent.map(|answer| answer.json()).unwrap_or_default();
            let id = sent["data"]["sendMessage"]["message"]["id"].as_str().unwrap_or("none");
            let told = timeout(EVENT_WITHIN, async {
                loop {
                    match socket.next().await {
                        Ok(text) if text.contains(id) => break Some(begun.elapsed()),
                        Ok(_) => {}
                        Err(_) => break None,
                    }
                }
            });
            events.push(told.await.ok().flatten());
            sleep(Duration::from_millis(100)).await;
        }
        events
    })
}
