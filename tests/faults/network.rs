//! A cut network to the database: callers are told so within the deadline, `/readyz` says it, and
//! service comes back without a restart and without a double charge.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rstest::rstest;
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    client::{Answer, Client},
    eventually,
    folder::Folder,
    load::{Journal, Outcome},
    postgres,
    proxy::{Line, Proxy},
    say, scale,
    stage::{READY_WITHIN, Stage},
};

/// The request's deadline of ten seconds, and what a busy machine adds.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);
const SENDERS: usize = 8;

/// An answer, and when it was asked for and came.
struct Asked {
    begun: Instant,
    ended: Instant,
    answer: std::io::Result<Answer>,
}

#[rstest]
#[case::silent(Line::Silent, scale(12, 30))]
#[case::closed(Line::Closed, scale(3, 30))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_network_is_told_within_the_deadline(#[case] cut: Line, #[case] seconds: u64) {
    let folder = Folder::new();
    let data = folder.path.join("data");
    let Some(database) = postgres::Postgres::start(&folder.path, data, None).await else { return };
    let proxy = Proxy::start(database.port()).await;
    let (url, proxied) = (database.url(), postgres::url_at(proxy.port));
    let mut stage = Stage::stand(folder, Some(database), url, proxied, 8).await;
    let mut journal = Journal::default();

    let (stop, stopped) = watch::channel(false);
    let query = "{ balance { balance } messages(first: 1) { nodes { id } } }";
    let address = stage.server.address;
    let key = Arc::clone(&stage.keys[0]);
    let reader = keep_asking(stopped.clone(), move || {
        let key = Arc::clone(&key);
        async move { Client::new(address).graphql(&key, query, &json!({})).await }
    });
    let prober =
        keep_asking(stopped, move || async move { Client::new(address).get("/readyz").await });
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
    let (reads, probes) = (reader.await.expect("reads"), prober.await.expect("probes"));

    // What was on its way when the line was cut may have got through.
    let is_within = |begun: Instant, ended: Instant| {
        begun > cut_at + Duration::from_millis(200) && ended < healed_at
    };
    let mut slowest = Duration::ZERO;
    let mut told = [0; 3];
    for attempt in &attempts {
        slowest = slowest.max(attempt.ended - attempt.begun);
        match &attempt.outcome {
            Outcome::Failed(code) if code == "UNAVAILABLE" => told[0] += 1,
            outcome => {
                assert!(outcome.is_acknowledged(), "a send was answered with {outcome:?}");
                let is_within = is_within(attempt.begun, attempt.ended);
                assert!(!is_within, "a send was acknowledged without a database");
            }
        }
    }
    let within = [(&reads, "a read"), (&probes, "a probe")];
    for (index, (asked, what)) in within.into_iter().enumerate() {
        for Asked { begun, ended, answer } in asked {
            slowest = slowest.max(*ended - *begun);
            let answer = answer.as_ref().expect("the server answers");
            let is_told = match what {
                "a read" => answer.code().as_deref() == Some("UNAVAILABLE"),
                _ => answer.status == 503,
            };
            told[index + 1] += usize::from(is_told);
            let is_well = answer.status == 200 && answer.code().is_none();
            assert!(is_told || is_well, "{what}: {answer:?}");
            assert!(is_told || !is_within(*begun, *ended), "{what} without a database: {answer:?}");
        }
    }
    say(&format!(
        "network cut, {cut:?}, {seconds} s: told so to {} sends, {} reads, {} probes; the slowest \
         answer took {slowest:?}; whole again {whole:?} after the cut",
        told[0], told[1], told[2]
    ));
    assert!(slowest < ANSWER_WITHIN, "an answer took {slowest:?}");
    assert!(told.iter().all(|told| *told > 0), "UNAVAILABLE to sends, reads and probes: {told:?}");
    assert!(whole < READY_WITHIN);

    journal.note(attempts);
    stage.check(&mut journal).await;
}

/// Asks one time after another, until it is stopped.
fn keep_asking<F>(
    stop: watch::Receiver<bool>,
    mut ask: impl FnMut() -> F + Send + 'static,
) -> JoinHandle<Vec<Asked>>
where
    F: Future<Output = std::io::Result<Answer>> + Send,
{
    tokio::spawn(async move {
        let mut asked = Vec::new();
        while !*stop.borrow() {
            let begun = Instant::now();
            let answer = ask().await;
            asked.push(Asked { begun, ended: Instant::now(), answer });
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        asked
    })
}
