//! A cut network between the server and the database: callers and `/readyz` get an error within the
//! deadline, and the server recovers without a restart and without charging twice.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use db_test::needs_postgres;
use rstest::rstest;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    client::{Answer, Client},
    eventually,
    fixture::Fixture,
    folder::Folder,
    load::{Journal, Outcome},
    postgres::{Postgres, SMALL_SEGMENTS, url_at},
    proxy::{Link, Proxy},
    report, scale,
};

/// The request's deadline of ten seconds, with a margin for a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
const SENDERS: usize = 8;
const READERS: usize = 4;

/// When the request began and ended, and whether it was answered with `UNAVAILABLE`.
type Timed = (Instant, Instant, bool);

#[needs_postgres]
#[rstest]
// The network is cut for longer than the deadline. If the network were restored before the deadline, a send whose
// COMMIT was interrupted could still be acknowledged.
#[case::silent(Link::Silent, scale(12, 30))]
#[case::closed(Link::Closed, scale(12, 30))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_network_is_reported_within_the_deadline(#[case] cut: Link, #[case] seconds: u64) {
    let folder = Folder::new();
    let data = folder.path.join("data");
    let database = Postgres::start(&folder.path, data, None, SMALL_SEGMENTS).await;
    let proxy = Proxy::start(database.port()).await;
    let (url, proxied) = (database.url(), url_at(proxy.port));
    let mut fixture = Fixture::with_database(folder, Some(database), url, proxied, 8).await;
    let mut journal = Journal::default();

    let query = "{ balance { balance } messages(first: 1) { nodes { id } } }";
    let address = fixture.server.address;
    let (stop, stopped) = watch::channel(false);
    let (mut readers, mut probers) = (JoinSet::new(), JoinSet::new());
    for number in 0..READERS {
        let key = Arc::clone(&fixture.keys[number % fixture.keys.len()]);
        readers.spawn(repeat(stopped.clone(), async move || {
            Client::new(address).graphql(&key, query, &json!({})).await
        }));
        probers.spawn(repeat(stopped.clone(), async move || {
            Client::new(address).get("/readyz").await
        }));
    }
    let load = fixture.load("cut", SENDERS);
    let deadline = Duration::from_secs(20);
    eventually(deadline, "sends are acknowledged", async || load.acknowledged() > SENDERS).await;

    proxy.set(cut);
    let cut_at = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let healed_at = Instant::now();
    proxy.set(Link::Open);
    let recovered =
        fixture.wait_for_recovery(&mut journal, "the server recovers after the network").await;
    let attempts = load.stop().await;
    stop.send_replace(true);
    let (reads, probes) = (readers.join_all().await, probers.join_all().await);

    // Requests that were in progress when the network was cut may have succeeded.
    let while_cut = cut_at + Duration::from_millis(200)..healed_at;
    let sends = attempts.iter().map(|attempt| match &attempt.outcome {
        outcome if outcome.is_acknowledged() => (attempt.begun, attempt.ended, false),
        Outcome::Failed(code) if code == "UNAVAILABLE" => (attempt.begun, attempt.ended, true),
        outcome => panic!("a send was answered with {outcome:?}"),
    });
    let summaries = [
        summarize("sends", sends, &while_cut),
        summarize("reads", reads.into_iter().flatten(), &while_cut),
        summarize("probes", probes.into_iter().flatten(), &while_cut),
    ];
    report(&format!(
        "network cut, {cut:?}, {seconds} s: recovered {recovered:?} after it; {summaries:?}"
    ));

    journal.note(attempts);
    fixture.check(&mut journal).await;
    for Summary { what, unavailable, slowest } in summaries {
        assert!(unavailable > 0, "none of the {what} failed");
        assert!(slowest < ANSWER_WITHIN, "one of the {what} took {slowest:?}");
    }
}

/// The requests of one kind while the network was cut.
#[derive(Debug)]
struct Summary {
    what: &'static str,
    /// How many requests failed with `UNAVAILABLE`.
    unavailable: usize,
    slowest: Duration,
}

/// Summarizes requests, and checks that none succeeded while the network was cut.
fn summarize(
    what: &'static str,
    requests: impl Iterator<Item = Timed>,
    while_cut: &Range<Instant>,
) -> Summary {
    let mut summary = Summary { what, unavailable: 0, slowest: Duration::ZERO };
    for (begun, ended, is_unavailable) in requests {
        summary.slowest = summary.slowest.max(ended - begun);
        summary.unavailable += usize::from(is_unavailable);
        let is_within = begun > while_cut.start && ended < while_cut.end;
        assert!(is_unavailable || !is_within, "one of the {what} succeeded without a database");
    }
    summary
}

/// Repeats a request until `stop` is true.
async fn repeat(
    stop: watch::Receiver<bool>,
    request: impl AsyncFn() -> std::io::Result<Answer>,
) -> Vec<Timed> {
    let mut requests = Vec::new();
    while !*stop.borrow() {
        let begun = Instant::now();
        let answer = request().await.expect("the server answers");
        let is_unavailable = match answer.status {
            503 => true,
            200 => answer.code().as_deref() == Some("UNAVAILABLE"),
            _ => false,
        };
        let is_success = answer.status == 200 && answer.code().is_none();
        assert!(is_unavailable || is_success, "{answer:?}");
        requests.push((begun, Instant::now(), is_unavailable));
        if is_unavailable {
            // The pause avoids a busy loop of retries.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    requests
}
