//! `kill -9` under load, of the server, and of the database under it: what was acknowledged is there,
//! a retry never charges twice, and service is back within five seconds.

use std::time::Duration;

use db_test::{db_test, needs_postgres};
use rand::RngExt as _;

use crate::{
    Database::{self, Postgres},
    chance, eventually,
    load::{Journal, Load, Outcome},
    say, scale,
    stage::{READY_WITHIN, Stage},
};

const SENDERS: usize = 16;

/// Lets the load begin, and some more time pass.
async fn some_time_into(load: &Load, pause: u64) {
    eventually(Duration::from_secs(20), "a send is acknowledged", async || load.acknowledged() > 0)
        .await;
    tokio::time::sleep(Duration::from_millis(pause)).await;
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_has_kept_what_it_acknowledged(database: Database) {
    let mut stage = Stage::start(database).await;
    let mut chance = chance();
    let mut journal = Journal::default();
    let mut slowest = Duration::ZERO;
    let rounds = scale(2, 20);

    for round in 0..rounds {
        let load = stage.load(&format!("round-{round}"), SENDERS);
        some_time_into(&load, chance.random_range(50..400)).await;
        stage.server.kill();
        journal.note(load.stop().await);

        stage.server.start_again();
        let ready = eventually(READY_WITHIN, "the server is ready again", async || {
            stage.server.is_ready().await
        });
        slowest = slowest.max(ready.await);
        stage.check(&mut journal).await;
    }

    let messages = stage.check(&mut journal).await;
    say(&format!(
        "server killed, {database:?}: {rounds} rounds, {messages} messages, ready {slowest:?} after \
         its start at the latest"
    ));
}

#[needs_postgres]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_database_is_found_again() {
    let mut stage = Stage::start(Postgres).await;
    let mut chance = chance();
    let mut journal = Journal::default();
    let mut slowest = Duration::ZERO;
    let rounds = scale(2, 10);

    for round in 0..rounds {
        let load = stage.load(&format!("round-{round}"), SENDERS);
        some_time_into(&load, chance.random_range(50..400)).await;
        let postgres = stage.postgres.as_mut().expect("it was started");
        if round % 2 == 0 {
            postgres.kill();
        } else {
            postgres.kill_backends().await;
        }
        postgres.run().await;
        let whole = stage.is_whole_again(&mut journal, "service is back after the database").await;
        slowest = slowest.max(whole);

        let attempts = load.stop().await;
        for attempt in &attempts {
            let outcome = &attempt.outcome;
            let is_known = outcome.is_acknowledged()
                || matches!(outcome, Outcome::Failed(code) if code == "UNAVAILABLE");
            assert!(is_known, "a send was answered with {outcome:?}");
        }
        journal.note(attempts);
        stage.check(&mut journal).await;
    }

    let messages = stage.check(&mut journal).await;
    say(&format!(
        "database killed: {rounds} rounds, {messages} messages, whole again {slowest:?} after the \
         database at the latest"
    ));
}
