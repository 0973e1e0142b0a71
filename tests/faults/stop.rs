//! SIGTERM under load: requests that have begun are answered, and the server exits with code 0.

use std::time::{Duration, Instant};

use db_test::db_test;
use rand::RngExt as _;
use sea_orm::ConnectionTrait as _;
use tokio::net::TcpStream;
use tollgate::db::Db;

use crate::{
    Database::{self, Postgres},
    client::Client,
    eventually,
    fixture::{Fixture, READY_WITHIN},
    load::{Attempt, Journal, Outcome, SEND},
    report, scale, seeded_rng,
};

const SENDERS: usize = 16;
/// The server stops within ten seconds. The test waits longer, because a busy machine may be slower.
const END_WITHIN: Duration = Duration::from_secs(12);
/// If a request was written less than this time before the signal, the server may not have read the request yet. The
/// server may then close the connection as an idle connection, as HTTP/1.1 permits.
const MARGIN: Duration = Duration::from_millis(20);

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_does_not_interrupt_requests(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let mut rng = seeded_rng();
    let mut journal = Journal::default();
    let rounds = scale(2, 10);
    let mut answered = 0;

    for round in 0..rounds {
        let load = fixture.load(&format!("round-{round}"), SENDERS);
        let deadline = Duration::from_secs(20);
        eventually(deadline, "sends are acknowledged", async || load.acknowledged() > SENDERS)
            .await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..200))).await;
        let signalled = Instant::now();
        fixture.server.terminate();
        eventually(END_WITHIN, "the server ends", async || fixture.server.ended().is_some()).await;
        let attempts = load.stop().await;

        let ended = fixture.server.ended().expect("it has ended");
        assert_eq!(ended.code(), Some(0), "{ended}");
        for attempt in &attempts {
            let is_sent = attempt.written.is_some_and(|written| written + MARGIN < signalled);
            if is_sent {
                let outcome = &attempt.outcome;
                assert!(outcome.is_acknowledged(), "a send that had begun ended with {outcome:?}");
                answered += usize::from(attempt.ended > signalled);
            }
        }
        journal.note(attempts);
        fixture.audit();
        fixture.server.start_again();
        let is_ready = async || fixture.server.is_ready().await;
        eventually(READY_WITHIN, "the server is ready again", is_ready).await;
    }

    let messages = fixture.check(&mut journal).await;
    report(&format!(
        "SIGTERM, {database:?}: {rounds} rounds, {messages} messages, {answered} sends that had begun \
         at least {MARGIN:?} before the signal were answered after it"
    ));
}

/// A lock blocks the sends, so that they are certainly in progress when the signal arrives.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_that_wait_for_a_lock_are_answered_after_sigterm(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let mut journal = Journal::default();
    let address = fixture.server.address;

    // On SQLite, beginning the transaction takes the only lock.
    let other = Db::connect(&fixture.url, 1).await.expect("the database opens");
    let lock = other.begin_write().await.expect("a transaction begins");
    if database == Postgres {
        lock.execute_unprepared("SELECT id FROM team FOR UPDATE")
            .await
            .expect("the teams are locked");
    }
    let mut begun = Vec::new();
    for _ in 0..SENDERS {
        let send = fixture.new_send();
        let mut client = Client::new(address);
        let body = client
            .begin(&send.api_key, SEND, &send.variables())
            .await
            .expect("the server asks for the body");
        begun.push((send, client, body));
    }
    let waiting: Vec<_> = begun
        .into_iter()
        .map(|(send, mut client, body)| {
            tokio::spawn(async move {
                let begun = Instant::now();
                let outcome = Outcome::of(client.finish(&body).await);
                Attempt { send, begun, written: client.written, ended: Instant::now(), outcome }
            })
        })
        .collect();
    fixture.server.terminate();
    let is_closed = async || TcpStream::connect(address).await.is_err();
    eventually(END_WITHIN, "new connections are refused", is_closed).await;
    assert_eq!(fixture.server.ended(), None, "the server waits for requests that have begun");
    lock.rollback().await.expect("the lock is released");
    other.close().await.expect("the connections close");

    let mut attempts = Vec::new();
    for attempt in waiting {
        let attempt = attempt.await.expect("a sender does not panic");
        assert!(attempt.outcome.is_acknowledged(), "{:?}", attempt.outcome);
        attempts.push(attempt);
    }
    journal.note(attempts);
    eventually(END_WITHIN, "the server ends", async || fixture.server.ended().is_some()).await;
    let ended = fixture.server.ended().expect("it has ended");
    assert_eq!(ended.code(), Some(0), "{ended}");

    fixture.audit();
    fixture.server.start_again();
    let is_ready = async || fixture.server.is_ready().await;
    eventually(READY_WITHIN, "the server is ready again", is_ready).await;
    fixture.check(&mut journal).await;
}
