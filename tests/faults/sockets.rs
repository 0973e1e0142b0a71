//! Callers that hang up, with a pool of two connections: none is left in a transaction, and whoever
//! comes next is served.

use std::time::Duration;

use db_test::db_test;
use rand::RngExt as _;
use sea_orm::{ConnectionTrait as _, Statement};
use tokio::task::JoinSet;

use crate::{
    Database::{self},
    chance,
    client::Client,
    eventually,
    load::{Journal, SEND},
    postgres, say, scale,
    stage::Stage,
};

const CALLERS: usize = 16;
/// Less than the 15 seconds after which PostgreSQL itself ends a session that idles in a transaction.
const SETTLE_DEADLINE: Duration = Duration::from_secs(10);

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_hang_up_leave_no_transaction_behind(database: Database) {
    let mut stage = Stage::start_with(database, 2).await;
    let mut chance = chance();
    let mut journal = Journal::default();
    let closed = scale(200, 2000);

    let mut callers = JoinSet::new();
    for _ in 0..closed {
        if callers.len() == CALLERS {
            callers.join_next().await.expect("a caller").expect("it ends in order");
        }
        let send = stage.new_send();
        let pause = Duration::from_micros(chance.random_range(0..20_000));
        let address = stage.server.address;
        journal.note_unknown(send.clone());
        callers.spawn(async move {
            let client = Client::new(address);
            client.hang_up_after(pause, &send.api_key, SEND, &send.variables()).await;
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("a caller ends in order");
    }
    let settled = nothing_idles_in_a_transaction(stage.postgres.as_ref()).await;

    let sends = scale(100, 1000);
    let mut attempts = Vec::new();
    let mut client = Client::new(stage.server.address);
    for _ in 0..sends {
        attempts.push(stage.new_send().by(&mut client).await);
    }
    for attempt in &attempts {
        assert!(attempt.outcome.is_acknowledged(), "{:?}", attempt.outcome);
    }
    journal.note(attempts);
    nothing_idles_in_a_transaction(stage.postgres.as_ref()).await;

    let messages = stage.check(&mut journal).await;
    say(&format!(
        "{closed} sockets closed, {database:?}: settled after {settled:?}, the next {sends} sends \
         succeeded, {messages} messages"
    ));
}

async fn nothing_idles_in_a_transaction(postgres: Option<&postgres::Postgres>) -> Duration {
    let Some(postgres) = postgres else { return Duration::ZERO };
    let connection = postgres.connect().await.expect("the database answers");
    // The worker's transactions come and go; one that was left behind stays.
    let settled = eventually(SETTLE_DEADLINE, "no session idles in a transaction", async || {
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
