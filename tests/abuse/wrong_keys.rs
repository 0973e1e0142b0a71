//! Thousands of invalid keys per second, and sockets without a key. Other clients at the same address use valid keys
//! for the first time.

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
    attack::{Attack, RETRY_PAUSE, duration},
    figures::milliseconds,
    fixture::Fixture,
    probe::{self, Probe, Sample, StopFlag},
    report,
    requests::post,
    scale,
    socket::{Socket, SocketError},
};

/// Number of keys for each attack that the probe has not used before.
const FRESH_KEYS: usize = 40;
/// Number of well-formed keys that do not exist.
const UNKNOWN_KEYS: usize = 2_000;
/// Number of connections that try keys.
const CONNECTIONS: usize = 16;
/// Pause between sockets that are opened with a valid key.
const OPEN_PAUSE: Duration = Duration::from_millis(50);
/// Number of sockets without a key. The number is higher than the limit for one address.
const UNAUTHENTICATED_SOCKETS: usize = 400;

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn wrong_keys(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let query = "{ account { name } }";
    let with_key = |key: &str| post(key, query, &json!({}));
    let unknown: Vec<Arc<[u8]>> = (0..UNKNOWN_KEYS)
        .map(|_| with_key(PlainKey::generate(Role::MainAccount, Environment::Live).reveal()))
        .collect();
    let malformed: Vec<Arc<[u8]>> =
        (0..100).map(|at| with_key(&format!("tg_live_{at:036}"))).collect();
    let revoked = revoked_key(&fixture).await;
    let revoked = vec![with_key(&revoked)];

    let kinds =
        [("unknown keys", unknown), ("a revoked key", revoked), ("malformed keys", malformed)];
    for (what, requests) in kinds.into_iter().take(scale(1, 3)) {
        let fresh = fresh_keys(&fixture).await;
        let name = format!("{what} on {CONNECTIONS} connections from the address of fresh keys");
        let (target, pause) =
            (fixture.server.address, duration() / u32::try_from(FRESH_KEYS).expect("few"));
        let mut samples = Vec::new();
        fixture
            .attack(&name, &["UNAUTHENTICATED"], async |attack| {
                attack.repeat(CONNECTIONS, &requests);
                let fresh = probe::fresh_keys(None, target, fresh, pause);
                attack.run().await;
                attack.stop().await;
                samples = fresh.stop().await;
            })
            .await;
        let times = probe::times(&samples);
        report(&format!(
            "  {} fresh keys, the slowest in {}",
            samples.len(),
            milliseconds(times.worst())
        ));
        fixture.check_probe(&name, &samples);
    }
    fixture.finish().await;
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn unauthenticated_sockets(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let (target, key) = (fixture.server.address, fixture.probe.clone());
    let name = format!("{UNAUTHENTICATED_SOCKETS} sockets that say nothing");
    let (mut elsewhere, mut beside) = (Vec::new(), Vec::new());
    fixture
        .attack(&name, &["closed 1013"], async |attack| {
            open_without_key(attack);
            let other = openings(target, &key, async |target, key| {
                Socket::with_key(Some(probe::ADDRESS), target, key).await
            });
            let same = openings(target, &key, async |target, key| {
                Socket::with_key_in_header(None, target, key).await
            });
            attack.run().await;
            attack.stop().await;
            elsewhere = other.stop().await;
            beside = same.stop().await;
        })
        .await;
    fixture.check_probe(&format!("{name}, and others from another address"), &elsewhere);
    fixture.check_probe(&format!("{name}, and others with a key in the header"), &beside);
    fixture.finish().await;
}

/// Creates a sub-account of the probe's team, and returns new keys of the sub-account.
async fn fresh_keys(fixture: &Fixture) -> Vec<String> {
    let create = "mutation { createSubAccount(input: { name: \"Client\" }) { account { id } } }";
    let made = fixture.ask(&fixture.probe, create, json!({})).await;
    let id = made["createSubAccount"]["account"]["id"].as_str().expect("an id").to_owned();
    let mut keys = Vec::new();
    for _ in 0..FRESH_KEYS {
        keys.push(fixture.new_key(&fixture.probe, &id, "LIVE").await);
    }
    keys
}

async fn revoked_key(fixture: &Fixture) -> String {
    let account = fixture.sub_account().await;
    let deactivate = "mutation($account: AccountRef!) \
                      { deactivateSubAccount(account: $account) { errors { code } } }";
    fixture.ask(&fixture.attacker, deactivate, json!({ "account": { "id": account.id } })).await;
    account.live
}

fn open_without_key(attack: &mut Attack) {
    for _ in 0..UNAUTHENTICATED_SOCKETS {
        let (target, tally) = (attack.target, Arc::clone(&attack.tally));
        attack.client(async move {
            loop {
                let said = async { Socket::open(None, target).await?.next().await };
                tally.said(&said.await);
                sleep(RETRY_PAUSE).await;
            }
        });
    }
}

/// Opens sockets with a valid key one after another.
fn openings(
    target: SocketAddr,
    key: &str,
    open: impl AsyncFn(SocketAddr, &str) -> Result<Socket, SocketError> + Send + 'static,
) -> Probe<Vec<Sample>> {
    let key = key.to_owned();
    Probe::start(async move |stop: StopFlag| {
        let mut samples = Vec::new();
        while !stop.is_set() {
            let begun = Instant::now();
            let refused = open(target, &key).await.err().map(|shut| format!("{shut:?}"));
            samples.push(Sample { what: "socket", took: begun.elapsed(), refused });
            sleep(OPEN_PAUSE).await;
        }
        samples
    })
}
