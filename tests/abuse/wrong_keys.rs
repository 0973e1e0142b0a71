//! Wrong keys, thousands a second, and sockets that do not say whose they are, from the address from which
//! others use valid keys for the first time.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use db_test::db_test;
use entity::api_key::{Environment, Role};
use serde_json::json;
use tokio::time::sleep;
use tollgate::domain::api_key::plain_key::PlainKey;

use crate::{
    Database::{self},
    attack::{Attack, REST_AFTER_FAILURE, duration},
    figures::milliseconds,
    probe::{self, Over, Probe, Sample},
    requests::post,
    say, scale,
    socket::{Shut, Socket},
    stage::Stage,
};

/// Keys of the probe that have not been used yet, for each attack.
const FRESH_KEYS: usize = 40;
/// Well-formed keys that there are not.
const UNKNOWN_KEYS: usize = 2_000;
/// Connections that try keys.
const CONNECTIONS: usize = 16;
/// How often a socket is opened with a valid key.
const OPEN_EVERY: Duration = Duration::from_millis(50);
/// Sockets that are opened and say nothing: more than one address may have.
const STRANGERS: usize = 400;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wrong_keys(database: Database) {
    let mut stage = Stage::start(database).await;
    let query = "{ account { name } }";
    let with_key = |key: &str| post(key, query, &json!({}));
    let unknown: Vec<Arc<[u8]>> = (0..UNKNOWN_KEYS)
        .map(|_| with_key(PlainKey::generate(Role::MainAccount, Environment::Live).reveal()))
        .collect();
    let junk: Vec<Arc<[u8]>> = (0..100).map(|at| with_key(&format!("tg_live_{at:036}"))).collect();
    let revoked = revoked_key(&stage).await;
    let revoked = vec![with_key(&revoked)];

    let kinds =
        [("unknown keys", unknown), ("a revoked key", revoked), ("keys that are none", junk)];
    for (what, requests) in kinds.into_iter().take(scale(1, 3)) {
        let fresh = fresh_keys(&stage).await;
        let name = format!("{what} on {CONNECTIONS} connections from the address of fresh keys");
        let (target, rest) =
            (stage.server.address, duration() / u32::try_from(FRESH_KEYS).expect("few"));
        let mut samples = Vec::new();
        stage
            .attack(&name, &["UNAUTHENTICATED"], async |attack| {
                attack.repeat(CONNECTIONS, &requests);
                let fresh = probe::fresh_keys(None, target, fresh, rest);
                attack.lasts().await;
                attack.stop().await;
                samples = fresh.stop().await;
            })
            .await;
        let times = probe::times(&samples);
        say(&format!(
            "  {} fresh keys, the slowest in {}",
            samples.len(),
            milliseconds(times.worst())
        ));
        stage.judge(&name, &samples);
    }
    stage.finish().await;
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn sockets_of_strangers(database: Database) {
    let mut stage = Stage::start(database).await;
    let (target, key) = (stage.server.address, stage.probe.clone());
    let name = format!("{STRANGERS} sockets that say nothing");
    let (mut elsewhere, mut beside) = (Vec::new(), Vec::new());
    stage
        .attack(&name, &["closed 1013"], async |attack| {
            open_and_say_nothing(attack);
            let other = openings(target, &key, async |target, key| {
                Socket::with_key(Some(probe::ADDRESS), target, key).await
            });
            let same = openings(target, &key, async |target, key| {
                Socket::with_key_in_header(None, target, key).await
            });
            attack.lasts().await;
            attack.stop().await;
            elsewhere = other.stop().await;
            beside = same.stop().await;
        })
        .await;
    stage.judge(&format!("{name}, and others from another address"), &elsewhere);
    stage.judge(&format!("{name}, and others with a key in the header"), &beside);
    stage.finish().await;
}

/// Keys of the probe's main account that nothing has used.
async fn fresh_keys(stage: &Stage) -> Vec<String> {
    let create = "mutation { createSubAccount(input: { name: \"Client\" }) { account { id } } }";
    let made = stage.ask(&stage.probe, create, json!({})).await;
    let id = made["createSubAccount"]["account"]["id"].as_str().expect("an id").to_owned();
    let mut keys = Vec::new();
    for _ in 0..FRESH_KEYS {
        keys.push(stage.new_key(&stage.probe, &id, "LIVE").await);
    }
    keys
}

async fn revoked_key(stage: &Stage) -> String {
    let account = stage.sub_account().await;
    let deactivate = "mutation($account: AccountRef!) \
                      { deactivateSubAccount(account: $account) { errors { code } } }";
    stage.ask(&stage.attacker, deactivate, json!({ "account": { "id": account.id } })).await;
    account.live
}

fn open_and_say_nothing(attack: &mut Attack) {
    for _ in 0..STRANGERS {
        let (target, tally) = (attack.target, Arc::clone(&attack.tally));
        attack.client(async move {
            loop {
                let said = async { Socket::open(None, target).await?.next().await };
                tally.said(&said.await);
                sleep(REST_AFTER_FAILURE).await;
            }
        });
    }
}

/// Opens one socket after another with a valid key.
fn openings(
    target: SocketAddr,
    key: &str,
    open: impl AsyncFn(SocketAddr, &str) -> Result<Socket, Shut> + Send + 'static,
) -> Probe<Vec<Sample>> {
    let key = key.to_owned();
    Probe::start(async move |over: Over| {
        let mut samples = Vec::new();
        while !over.is_so() {
            let begun = Instant::now();
            let refused = open(target, &key).await.err().map(|shut| format!("{shut:?}"));
            samples.push(Sample { what: "socket", took: begun.elapsed(), refused });
            sleep(OPEN_EVERY).await;
        }
        samples
    })
}
