//! `kill -9` of the server or of its database under load: no acknowledged message is lost, a retry never
//! charges twice, and the server is ready again within five seconds.

use std::time::Duration;

use db_test::{db_test, needs_postgres};
use rand::RngExt as _;

use crate::{
    Database::{self, Postgres},
    eventually,
    fixture::{Fixture, READY_WITHIN},
    load::{Journal, Load, Outcome},
    report, scale, seeded_rng,
};

const SENDERS: usize = 16;

/// Waits until a send is acknowledged, and then for `pause` milliseconds.
async fn run_for(load: &Load, pause: u64) {
    eventually(Duration::from_secs(20), "a send is acknowledged", async || load.acknowledged() > 0)
        .await;
    tokio::time::sleep(Duration::from_millis(pause)).await;
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_no_acknowledged_message(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let mut rng = seeded_rng();
    let mut journal = Journal::default();
    let mut slowest = Duration::ZERO;
    let rounds = scale(2, 20);

    for round in 0..rounds {
        let load = fixture.load(&format!("round-{round}"), SENDERS);
        run_for(&load, rng.random_range(50..400)).await;
        fixture.server.kill();
        journal.note(load.stop().await);

        fixture.server.start_again();
        let ready = eventually(READY_WITHIN, "the server is ready again", async || {
            fixture.server.is_ready().await
        });
        slowest = slowest.max(ready.await);
        fixture.check(&mut journal).await;
    }

    let messages = fixture.check(&mut journal).await;
    report(&format!(
        "server killed, {database:?}: {rounds} rounds, {messages} messages, ready at most \
         {slowest:?} after its start"
    ));
}

#[needs_postgres]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_recovers_from_a_killed_database() {
    let mut fixture = Fixture::start(Postgres).await;
    let mut rng = seeded_rng();
    let mut journal = Journal::default();
    let mut slowest = Duration::ZERO;
    let rounds = scale(2, 10);

    for round in 0..rounds {
        let load = fixture.load(&format!("round-{round}"), SENDERS);
        run_for(&load, rng.random_range(50..400)).await;
        let postgres = fixture.postgres.as_mut().expect("it was started");
        if round % 2 == 0 {
            postgres.kill();
        } else {
            postgres.kill_backends().await;
        }
        postgres.run().await;
        let recovered =
            fixture.wait_for_recovery(&mut journal, "the server recovers after the database").await;
        slowest = slowest.max(recovered);

        let attempts = load.stop().await;
        for attempt in &attempts {
            let outcome = &attempt.outcome;
            let is_known = outcome.is_acknowledged()
                || matches!(outcome, Outcome::Failed(code) if code == "UNAVAILABLE");
            assert!(is_known, "a send was answered with {outcome:?}");
        }
        journal.note(attempts);
        fixture.check(&mut journal).await;
    }

    let messages = fixture.check(&mut journal).await;
    report(&format!(
        "database killed: {rounds} rounds, {messages} messages, recovered at most {slowest:?} \
         after the database"
    ));
}
