//! Callers that disconnect, while the server has a pool of two database connections. No database connection is left in
//! a transaction, and later callers are served.

use std::time::Duration;

use db_test::db_test;
use rand::RngExt as _;
use sea_orm::{ConnectionTrait as _, Statement};
use tokio::task::JoinSet;

use crate::{
    Database::{self},
    client::Client,
    eventually,
    fixture::Fixture,
    load::{Journal, SEND},
    postgres, report, scale, seeded_rng,
};

const CALLERS: usize = 16;
/// Maximum time until no transaction is idle. The time is less than the 15 seconds after which PostgreSQL itself ends
/// an idle transaction.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_hang_up_leave_no_transaction_behind(database: Database) {
    let mut fixture = Fixture::start_with(database, 2).await;
    let mut rng = seeded_rng();
    let mut journal = Journal::default();
    let closed = scale(200, 2000);

    let mut callers = JoinSet::new();
    for _ in 0..closed {
        if callers.len() == CALLERS {
            callers.join_next().await.expect("a caller").expect("a caller does not panic");
        }
        let send = fixture.new_send();
        let pause = Duration::from_micros(rng.random_range(0..20_000));
        let address = fixture.server.address;
        journal.note_unknown(send.clone());
        callers.spawn(async move {
            let client = Client::new(address);
            client.hang_up_after(pause, &send.api_key, SEND, &send.variables()).await;
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("a caller does not panic");
    }
    let settled = wait_until_no_transaction_is_idle(fixture.postgres.as_ref()).await;

    let sends = scale(100, 1000);
    let mut attempts = Vec::new();
    let mut client = Client::new(fixture.server.address);
    for _ in 0..sends {
        attempts.push(fixture.new_send().send_with(&mut client).await);
    }
    for attempt in &attempts {
        assert!(attempt.outcome.is_acknowledged(), "{:?}", attempt.outcome);
    }
    journal.note(attempts);
    wait_until_no_transaction_is_idle(fixture.postgres.as_ref()).await;

    let messages = fixture.check(&mut journal).await;
    report(&format!(
        "{closed} sockets closed, {database:?}: no open transactions after {settled:?}, the next {sends} \
         sends succeeded, {messages} messages"
    ));
}

async fn wait_until_no_transaction_is_idle(postgres: Option<&postgres::Postgres>) -> Duration {
    let Some(postgres) = postgres else { return Duration::ZERO };
    let connection = postgres.connect().await.expect("the database answers");
    // The worker's transactions are idle only briefly. A transaction that was left open would stay idle.
    let settled = eventually(SETTLE_DEADLINE, "no transaction is idle", async || {
        let idle = "SELECT COUNT(*) AS n FROM pg_stat_activity \
                    WHERE state LIKE 'idle in transaction%'";
        let statement = Statement::from_string(connection.get_database_backend(), idle);
        let row = connection.query_one_raw(statement).await.expect("the query runs");
        row.expect("a row").try_get::<i64>("", "n").expect("a number") == 0
    })
    .await;
    connection.close().await.expect("the connection closes");
    settled
}
