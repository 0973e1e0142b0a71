//! A cut network to the database: callers are told so within the deadline, `/readyz` says it, and
//! service comes back without a restart and without a double charge.

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
    folder::Folder,
    load::{Journal, Outcome},
    postgres::{Postgres, SMALL_SEGMENTS, url_at},
    proxy::{Line, Proxy},
    say, scale,
    stage::Stage,
};

/// The request's deadline of ten seconds, and what a busy machine adds.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
const SENDERS: usize = 8;
const READERS: usize = 4;

/// When it was asked, when it was answered, and whether it was told that the database is away.
type Asked = (Instant, Instant, bool);

#[needs_postgres]
#[rstest]
// Longer than the deadline, for a send whose COMMIT was cut is told what came of it if the network is back by then.
#[case::silent(Line::Silent, scale(12, 30))]
#[case::closed(Line::Closed, scale(12, 30))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_network_is_told_within_the_deadline(#[case] cut: Line, #[case] seconds: u64) {
    let folder = Folder::new();
    let data = folder.path.join("data");
    let database = Postgres::start(&folder.path, data, None, SMALL_SEGMENTS).await;
    let proxy = Proxy::start(database.port()).await;
    let (url, proxied) = (database.url(), url_at(proxy.port));
    let mut stage = Stage::stand(folder, Some(database), url, proxied, 8).await;
    let mut journal = Journal::default();

    let query = "{ balance { balance } messages(first: 1) { nodes { id } } }";
    let address = stage.server.address;
    let (stop, stopped) = watch::channel(false);
    let (mut readers, mut probers) = (JoinSet::new(), JoinSet::new());
    for number in 0..READERS {
        let key = Arc::clone(&stage.keys[number % stage.keys.len()]);
        readers.spawn(keep_asking(stopped.clone(), async move || {
            Client::new(address).graphql(&key, query, &json!({})).await
        }));
        probers.spawn(keep_asking(stopped.clone(), async move || {
            Client::new(address).get("/readyz").await
        }));
    }
    let load = stage.load("cut", SENDERS);
    let deadline = Duration::from_secs(20);
    eventually(deadline, "the load is on", async || load.acknowledged() > SENDERS).await;

    proxy.set(cut);
    let cut_at = Instant::now();
    // The cut lasts this long: it is the fault, not a wait.
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let healed_at = Instant::now();
    proxy.set(Line::Open);
    let whole = stage.is_whole_again(&mut journal, "service is back after the network").await;
    let attempts = load.stop().await;
    stop.send_replace(true);
    let (reads, probes) = (readers.join_all().await, probers.join_all().await);

    // What was on its way when the line was cut may have got through.
    let while_cut = cut_at + Duration::from_millis(200)..healed_at;
    let sends = attempts.iter().map(|attempt| match &attempt.outcome {
        outcome if outcome.is_acknowledged() => (attempt.begun, attempt.ended, false),
        Outcome::Failed(code) if code == "UNAVAILABLE" => (attempt.begun, attempt.ended, true),
        outcome => panic!("a send was answered with {outcome:?}"),
    });
    let told = [
        judge("sends", sends, &while_cut),
        judge("reads", reads.into_iter().flatten(), &while_cut),
        judge("probes", probes.into_iter().flatten(), &while_cut),
    ];
    say(&format!("network cut, {cut:?}, {seconds} s: whole again {whole:?} after it; {told:?}"));

    journal.note(attempts);
    stage.check(&mut journal).await;
    for Told { what, times, slowest } in told {
        assert!(times > 0, "nothing told the {what}");
        assert!(slowest < ANSWER_WITHIN, "one of the {what} took {slowest:?}");
    }
}

/// What callers of one kind were told of the cut.
#[derive(Debug)]
struct Told {
    what: &'static str,
    /// How often they were told that the database is away.
    times: usize,
    slowest: Duration,
}

/// While the network was cut nobody was told that all is well.
fn judge(
    what: &'static str,
    asked: impl Iterator<Item = Asked>,
    while_cut: &Range<Instant>,
) -> Told {
    let mut told = Told { what, times: 0, slowest: Duration::ZERO };
    for (begun, ended, is_told) in asked {
        told.slowest = told.slowest.max(ended - begun);
        told.times += usize::from(is_told);
        let is_within = begun > while_cut.start && ended < while_cut.end;
        assert!(is_told || !is_within, "one of the {what} passed without a database");
    }
    told
}

/// Asks one time after another, until it is stopped.
async fn keep_asking(
    stop: watch::Receiver<bool>,
    ask: impl AsyncFn() -> std::io::Result<Answer>,
) -> Vec<Asked> {
    let mut asked = Vec::new();
    while !*stop.borrow() {
        let begun = Instant::now();
        let answer = ask().await.expect("the server answers");
        let is_told = match answer.status {
            503 => true,
            200 => answer.code().as_deref() == Some("UNAVAILABLE"),
            _ => false,
        };
        let is_well = answer.status == 200 && answer.code().is_none();
        assert!(is_told || is_well, "{answer:?}");
        asked.push((begun, Instant::now(), is_told));
        if is_told {
            // What is down is asked at leisure.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    asked
}
