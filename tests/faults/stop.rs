//! SIGTERM under load: what was begun is answered, and the server ends in order.

use std::time::{Duration, Instant};

use db_test::db_test;
use rand::RngExt as _;
use sea_orm::ConnectionTrait as _;
use tokio::net::TcpStream;
use tollgate::db::Db;

use crate::{
    Database::{self, Postgres},
    chance,
    client::Client,
    eventually,
    load::{Attempt, Journal, Outcome, SEND},
    say, scale,
    stage::{READY_WITHIN, Stage},
};

const SENDERS: usize = 16;
/// The server's own bound is ten seconds; a busy machine may look late.
const END_WITHIN: Duration = Duration::from_secs(12);
/// A request whose bytes were written within so much of the signal may not have been read before it:
/// then its connection is an idle one that is closed, as HTTP/1.1 allows.
const MARGIN: Duration = Duration::from_millis(20);

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_answers_what_it_was_sent(database: Database) {
    let mut stage = Stage::start(database).await;
    let mut chance = chance();
    let mut journal = Journal::default();
    let rounds = scale(2, 10);
    let mut answered = 0;

    for round in 0..rounds {
        let load = stage.load(&format!("round-{round}"), SENDERS);
        let deadline = Duration::from_secs(20);
        eventually(deadline, "the load is on", async || load.acknowledged() > SENDERS).await;
        tokio::time::sleep(Duration::from_millis(chance.random_range(20..200))).await;
        let signalled = Instant::now();
        stage.server.terminate();
        eventually(END_WITHIN, "the server ends", async || stage.server.ended().is_some()).await;
        let attempts = load.stop().await;

        let ended = stage.server.ended().expect("it has ended");
        assert_eq!(ended.code(), Some(0), "{ended}");
        for attempt in &attempts {
            let is_sent = attempt.written.is_some_and(|written| written + MARGIN < signalled);
            if is_sent {
                let outcome = &attempt.outcome;
                assert!(outcome.is_acknowledged(), "a send that was begun ended as {outcome:?}");
                answered += usize::from(attempt.ended > signalled);
            }
        }
        journal.note(attempts);
        stage.audit();
        stage.server.start_again();
        let is_ready = async || stage.server.is_ready().await;
        eventually(READY_WITHIN, "the server is ready again", is_ready).await;
    }

    let messages = stage.check(&mut journal).await;
    say(&format!(
        "SIGTERM, {database:?}: {rounds} rounds, {messages} messages, {answered} sends were under way \
         for {MARGIN:?} or more, and answered"
    ));
}

/// The same with certainty: the sends are known to be under way, and to wait for a lock.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_that_wait_when_the_server_is_told_to_stop_are_answered(database: Database) {
    let mut stage = Stage::start(database).await;
    let mut journal = Journal::default();
    let address = stage.server.address;

    // SQLite's begin holds the only lock there is.
    let other = Db::connect(&stage.url, 1).await.expect("the database opens");
    let lock = other.begin_write().await.expect("a transaction begins");
    if database == Postgres {
        lock.execute_unprepared("SELECT id FROM team FOR UPDATE")
            .await
            .expect("the teams are ours");
    }
    let mut begun = Vec::new();
    for _ in 0..SENDERS {
        let send = stage.new_send();
        let mut client = Client::new(address);
        let body = client.begin(&send.api_key, SEND, &send.variables()).await.expect("100");
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
    stage.server.terminate();
    let is_closed = async || TcpStream::connect(address).await.is_err();
    eventually(END_WITHIN, "nobody new is let in", is_closed).await;
    assert_eq!(stage.server.ended(), None, "it waits for what was begun");
    lock.rollback().await.expect("the lock is given back");
    other.close().await.expect("the connections close");

    let mut attempts = Vec::new();
    for attempt in waiting {
        let attempt = attempt.await.expect("a sender ends in order");
        assert!(attempt.outcome.is_acknowledged(), "{:?}", attempt.outcome);
        attempts.push(attempt);
    }
    journal.note(attempts);
    eventually(END_WITHIN, "the server ends", async || stage.server.ended().is_some()).await;
    let ended = stage.server.ended().expect("it has ended");
    assert_eq!(ended.code(), Some(0), "{ended}");

    stage.audit();
    stage.server.start_again();
    let is_ready = async || stage.server.is_ready().await;
    eventually(READY_WITHIN, "the server is ready again", is_ready).await;
    stage.check(&mut journal).await;
}
