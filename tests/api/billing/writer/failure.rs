//! Batches that fail: which of them are retried, which messages are charged, and which error the client receives.

use std::{sync::Arc, time::Duration};

use db_test::db_test;
use futures_util::future::join_all;
use serde_json::json;
use tollgate::domain::billing::Statements;

use super::{SEND_MANY, all, codes, send_at_once};
use crate::harness::{Apps, Cut, Postgres, Setup, Sqlite, TestApp, text};

/// The other messages in the batch are accepted.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_database_refuses_fails_alone(apps: &Apps) {
    // The program never writes a row that the database refuses, so the test changes the statements to write a null
    // status.
    let texts = |backend| {
        let texts = Statements::of(backend);
        // `before` and `status` are the part of the batch statement that writes the status. `text` is the expression
        // for the text of the message.
        let (before, status, text) = match apps.database {
            Sqlite => ("", "value ->> 17", "value ->> 9"),
            Postgres => (
                "SELECT id, team_id, account_id, api_key_id, environment, channel, ",
                "status",
                "text",
            ),
        };
        let plant = |status, text| format!("CASE WHEN {text} = 'Bad' THEN NULL ELSE {status} END");
        let place = format!("{before}{status}");
        assert_eq!(texts.write.matches(&place).count(), 1);
        let write = texts.write.replace(&place, &format!("{before}{}", plant(status, text))).leak();
        let accept_one = texts.accept_one.replace("'QUEUED'", &plant("'QUEUED'", "$9")).leak();
        Statements { write, accept_one, ..texts }
    };
    let backend = match apps.database {
        Sqlite => sea_orm::DbBackend::Sqlite,
        Postgres => sea_orm::DbBackend::Postgres,
    };
    let setup = Setup { statements: Some(texts(backend)), ..Setup::default() };
    let t = apps.start_with(setup).await;
    let team = t.team(1_000_000).await;

    let t = Arc::new(t);
    let sends = (0..60).map(|number| {
        let (t, key) = (Arc::clone(&t), team.key.clone());
        let text = if number % 20 == 7 { "Bad" } else { "Good" };
        tokio::spawn(async move {
            let answer = t.send(&key, json!({ "to": "+12025550123", "text": text })).await;
            (text, answer)
        })
    });
    for sent in join_all(sends).await {
        let (text, answer) = sent.expect("a response");
        match text {
            "Bad" => assert_eq!(answer.codes(), ["INTERNAL_SERVER_ERROR"]),
            _ => assert_eq!(answer.refusals(), [""; 0]),
        }
    }

    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 57);
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 57);
}

/// A batch is retried after a serialization failure as well as after a deadlock.
#[db_test(postgres)]
#[case("40P01")]
#[case("40001")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_retried_after_a_deadlock_and_charged_once(apps: &Apps, #[case] code: &str) {
    let lock_teams = "SELECT id, collide() FROM team WHERE id = ANY('{ids}'::uuid[]) \
                      ORDER BY id FOR UPDATE";
    // This statement accepts no message, so the fast path is disabled.
    let accept_one = "SELECT 1 WHERE $1::uuid IS NULL AND $2::uuid IS NULL AND $3::uuid IS NULL \
                      AND $4::uuid IS NULL AND $5::text IS NULL AND $6::text IS NULL \
                      AND $7::text IS NULL AND $8::text IS NULL AND $9::text IS NULL \
                      AND $10::int IS NULL AND $11::uuid IS NULL AND $12::bigint IS NULL \
                      AND $13::text IS NULL AND $14::bytea IS NULL AND $15::text IS NULL \
                      AND $16::timestamptz IS NULL AND $17::date IS NULL";
    let texts = Statements::of(sea_orm::DbBackend::Postgres);
    let texts = Some(Statements { lock_teams, accept_one, ..texts });
    let setup = Setup { statements: texts, ..Setup::default() };
    let t = apps.start_with(setup).await;
    t.execute(&format!(
        "CREATE SEQUENCE tries; GRANT USAGE ON SEQUENCE tries TO PUBLIC; \
         CREATE FUNCTION collide() RETURNS int LANGUAGE plpgsql AS \
         $$ BEGIN IF nextval('tries') = 1 THEN RAISE EXCEPTION USING ERRCODE = '{code}'; END IF; \
         RETURN 1; END $$"
    ))
    .await;
    let team = t.team(1_000).await;

    assert!(t.sends(&team.key).await);

    assert_eq!(t.number("SELECT last_value FROM tries").await, 2, "the second attempt succeeded");
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 1);
}

#[db_test(postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_connection_lost_during_commit_the_batch_is_looked_up_and_sent_again(t: &TestApp) {
    // The first COMMIT terminates its own database session before the commit is complete.
    t.execute(
        "CREATE SEQUENCE commits; GRANT USAGE ON SEQUENCE commits TO PUBLIC; \
         CREATE FUNCTION cut_off() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN IF nextval('commits') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); \
         END IF; RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER cut_off AFTER INSERT ON message DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION cut_off()",
    )
    .await;
    let team = t.team(1_000).await;

    let answer = t.send(&team.key, json!({ "to": "+12025550123", "text": "Hi" })).await;

    let id = text(&answer.data()["sendMessage"]["message"]["id"]);
    let found = t.ask_with(
        &team.key,
        "query($id: ID!) { message(id: $id) { status } }",
        json!({ "id": id }),
    );
    assert_eq!(found.await.data()["message"]["status"], "QUEUED");
    assert_eq!(t.number("SELECT last_value FROM commits").await, 2, "the second COMMIT succeeded");
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 1);
}

/// The test covers the fast path (one message) and a batch (several messages).
#[db_test(postgres)]
#[case::short(1, &["Look after me"])]
#[case::ordinary(7, &["Look after me", "COMMIT"])]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_found_and_not_charged_again(
    t: &TestApp,
    #[case] count: usize,
    #[case] words: &'static [&'static str],
) {
    let team = t.team(1_000).await;
    let cut = Cut::after(words, t.postgres_port()).await;
    let far = t.behind(&cut).await;

    let input = vec![json!({ "to": "+12025550123", "text": "Look after me" }); count];
    let answer = far.ask_with(&team.key, SEND_MANY, json!({ "input": input })).await;

    assert_eq!(cut.cuts(), 1, "a response was lost");
    assert_eq!(codes(&answer), vec![""; count]);
    let (count, total) = (i64::try_from(count).expect("a small number"), "SELECT COUNT(*) FROM");
    assert_eq!(t.number(&format!("{total} message")).await, count);
    assert_eq!(t.number(&format!("{total} ledger_entry WHERE kind = 'CHARGE'")).await, count);
    far.close().await;
}

#[db_test(postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_held_too_long_fails_only_the_sends_of_its_team(t: &Arc<TestApp>) {
    let team = t.team(1_000).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(t.team(1_000).await);
    }
    let txn = t.lock_team(&team).await;

    let mut sends = send_at_once(t, &team.key, 5);
    let of_others: Vec<_> = others.iter().flat_map(|o| send_at_once(t, &o.key, 5)).collect();
    for answer in all(of_others).await {
        assert_eq!(answer.refusals(), [""; 0]);
    }
    let last = tokio::time::timeout(Duration::from_secs(30), all(std::mem::take(&mut sends)));
    for answer in last.await.expect("every send gets a response") {
        assert_eq!(answer.codes(), ["UNAVAILABLE"]);
    }
    txn.rollback().await.expect("the lock is released");

    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 20);
    assert!(t.sends(&team.key).await, "sends succeed once the lock is free");
}

/// Two of the eight write connections remain free for the worker.
#[db_test(postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_wait_for_a_lock_leave_connections_for_the_worker(t: &Arc<TestApp>) {
    let (teams, beside) = ([t.team(0).await, t.team(0).await], t.beside(Setup::default()).await);
    let locks = [beside.lock_team(&teams[0]).await, beside.lock_team(&teams[1]).await];
    let create = "mutation { createSubAccount(input: { name: \"One\" }) { errors { code } } }";
    let changes: Vec<_> = (0..10)
        .map(|at| {
            let (t, key) = (Arc::clone(t), teams[at % 2].key.clone());
            tokio::spawn(async move { t.ask(&key, create).await })
        })
        .collect();
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock'";
    while t.number(waits).await < 6 {
        tokio::task::yield_now().await;
    }

    let of_worker = [t.app.db.begin_write().await, t.app.db.begin_write().await];
    assert_eq!(t.number(waits).await, 6);
    for txn in of_worker {
        txn.expect("a connection is free").rollback().await.expect("the transaction ends");
    }
    for lock in locks {
        lock.rollback().await.expect("the transaction ends");
    }
    for answer in all(changes).await {
        assert_eq!(answer.refusals(), [""; 0]);
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM account WHERE is_sub_account").await, 10);
}
