//! The group commit: what a send is judged by while it waits for its turn, what a full queue says,
//! who is charged when somebody hangs up, and what a failing batch leaves behind.

use std::{sync::Arc, time::Duration};

use db_test::{db_test, needs_postgres};
use futures_util::future::join_all;
use rstest::rstest;
use sea_orm::{ConnectionTrait as _, DatabaseTransaction};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tollgate::domain::billing::{Statements, WAITING_OF_TEAM_MAX};

use crate::harness::{Answer, Cut, Database, Postgres, Setup, Sqlite, TestApp, TestTeam, text};

/// Takes the team's lock, as a change of its settings does.
async fn lock(t: &TestApp, team: &TestTeam) -> DatabaseTransaction {
    let txn = t.app.db.begin_write().await.expect("a transaction begins");
    let id = team.id.parse().expect("an id");
    tollgate::domain::account::team_lock::lock_team(&txn, id)
        .await
        .expect("the lock is free")
        .expect("the team is there");
    txn
}

fn send_at_once(t: &Arc<TestApp>, key: &str, count: usize) -> Vec<JoinHandle<Answer>> {
    let sends = (0..count).map(|_| {
        let (t, key) = (Arc::clone(t), key.to_owned());
        tokio::spawn(
            async move { t.send(&key, json!({ "to": "+12025550123", "text": "Hi" })).await },
        )
    });
    sends.collect()
}

/// Waits until a writer stands before a lock; on `SQLite`, whose lock is not to be seen, until whatever
/// can run has run.
async fn until_a_writer_waits(t: &TestApp) {
    let waits = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND wait_event_type = 'Lock'";
    let is_postgres = t.app.db.backend() == sea_orm::DbBackend::Postgres;
    for _ in 0..1_000 {
        if is_postgres && t.number(waits).await > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    assert!(!is_postgres, "no writer waits for the lock");
}

async fn all(sends: impl IntoIterator<Item = JoinHandle<Answer>>) -> Vec<Answer> {
    join_all(sends).await.into_iter().map(|answer| answer.expect("an answer")).collect()
}

/// R10, R20: what is committed under the lock before a send is judged counts for it, by the short route
/// (one message) as by the ordinary one (many).
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_is_judged_by_what_was_committed_before_its_turn(
    database: Database,
    #[values(1, 2, 7)] count: usize,
    #[values(
        ("UPDATE api_key SET revoked_at = created_at WHERE id = '{key}'", "UNAUTHENTICATED"),
        ("UPDATE api_key SET grace_ends_at = created_at WHERE id = '{key}'", "UNAUTHENTICATED"),
        ("UPDATE account SET credit_limit_micros = 0 WHERE id = '{account}'", "CREDIT_LIMIT_REACHED"),
        ("UPDATE account SET status = 'SUSPENDED' WHERE id = '{account}'", "ACCOUNT_SUSPENDED"),
        (
            "INSERT INTO opt_out (id, team_id, account_id, channel, address, source, created_at) \
             SELECT id, team_id, id, 'SMS', '+12025550123', 'API', created_at FROM account \
             WHERE id = '{account}'",
            "OPTED_OUT",
        )
    )]
    change: (&str, &str),
) {
    let t = TestApp::start(database).await;
    let (team, t) = (t.team(1_000).await, Arc::new(t));

    let codes = codes_of_sends_that_waited(&t, &team, change.0, count).await;

    // A revoked key fails a call as a whole.
    assert!(!codes.is_empty() && codes.iter().all(|code| code == change.1), "{codes:?}");
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 1);
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 1);
    Arc::into_inner(t).expect("every sender has ended").close().await;
}

/// The proof above bites: without the lock a batch is judged by what is not true any more.
#[needs_postgres]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_lock_a_revoked_key_is_charged() {
    let mut texts = Statements::of(sea_orm::DbBackend::Postgres);
    assert!(texts.lock_teams.ends_with(" FOR UPDATE"));
    texts.lock_teams = texts.lock_teams.trim_end_matches(" FOR UPDATE");
    let setup = Setup { texts: Some(texts), ..Setup::default() };
    let t = TestApp::start_with(Postgres, setup).await;
    let (team, t) = (t.team(1_000).await, Arc::new(t));

    let revoke = "UPDATE api_key SET revoked_at = created_at WHERE id = '{key}'";
    let codes = codes_of_sends_that_waited(&t, &team, revoke, 7).await;

    assert!(codes.contains(&String::new()), "{codes:?}");
    Arc::into_inner(t).expect("every sender has ended").close().await;
}

/// Has messages of a sub-account wait for the team's lock, changes something under it, and gives the
/// code that each then gets; an empty one for an accepted message.
async fn codes_of_sends_that_waited(
    t: &Arc<TestApp>,
    team: &TestTeam,
    change: &str,
    count: usize,
) -> Vec<String> {
    let sub = t.sub_account(team, json!({})).await;
    assert!(t.sends(&sub.key).await, "the writer's connection stands");
    let txn = lock(t, team).await;
    let sends: Vec<_> = if count > 2 {
        // One call, so that they are one batch.
        let mut variables = hundred("batch");
        variables["input"].as_array_mut().expect("a list").truncate(count);
        let (t, key) = (Arc::clone(t), sub.key.clone());
        vec![tokio::spawn(async move { t.ask_with(&key, SEND_MANY, variables).await })]
    } else {
        send_at_once(t, &sub.key, count)
    };
    until_a_writer_waits(t).await;
    let id = |id: &str| match t.app.db.backend() {
        sea_orm::DbBackend::Postgres => format!("'{id}'"),
        _ => format!("x'{}'", id.replace('-', "")),
    };
    let sql = change.replace("'{key}'", &id(&sub.key_id)).replace("'{account}'", &id(&sub.id));
    txn.execute_unprepared(&sql).await.expect("the change is made");
    txn.commit().await.expect("the change is committed");
    all(sends).await.iter().flat_map(codes).collect()
}

/// The code of a failed request, or of each payload; an empty one of an accepted message.
fn codes(answer: &Answer) -> Vec<String> {
    let failed = answer.codes();
    if !failed.is_empty() {
        return failed.into_iter().map(str::to_owned).collect();
    }
    let payloads = match answer.data() {
        Value::Object(data) if data.contains_key("sendMessages") => data["sendMessages"].clone(),
        data => json!([data["sendMessage"]]),
    };
    let payloads = payloads.as_array().expect("payloads").clone();
    let code = |payload: &Value| payload["errors"][0]["code"].as_str().unwrap_or("").to_owned();
    payloads.iter().map(code).collect()
}

/// A raised limit unblocks what waits, and a top-up pays for it.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_is_paid_by_what_came_in_before_its_turn(
    database: Database,
    #[values(1, 7)] count: usize,
) {
    let t = TestApp::start(database).await;
    t.set_sms_price(10_000).await;
    let team = t.team(1).await;
    assert!(t.sends(&team.key).await, "the balance pays for one");
    let t = Arc::new(t);

    let txn = lock(&t, &team).await;
    let sends = send_at_once(&t, &team.key, count);
    until_a_writer_waits(&t).await;
    txn.rollback().await.expect("the lock is released");
    let refused = all(sends).await;
    assert!(refused.iter().all(|answer| answer.refusals() == ["INSUFFICIENT_BALANCE"]));

    assert_eq!(t.top_up(&team, json!(count), "refill").await.refusals(), [""; 0]);
    let accepted = all(send_at_once(&t, &team.key, count + 3)).await;
    let accepted = accepted.iter().filter(|answer| answer.refusals().is_empty()).count();
    assert_eq!(accepted, count);
    Arc::into_inner(t).expect("every sender has ended").close().await;
}

/// Who hangs up before a writer has taken the message is not charged; whose message was taken is, and
/// finds it by its key.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_in_time_is_not_charged(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    assert!(t.sends(&team.key).await, "the writer's connection stands");
    let t = Arc::new(t);
    let keyed = |key: &str| json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": key });
    let send = |key: &'static str| {
        let (t, own, input) = (Arc::clone(&t), team.key.clone(), keyed(key));
        tokio::spawn(async move { t.send(&own, input).await })
    };

    let txn = lock(&t, &team).await;
    let taken = send("taken");
    while t.app.writers.taken().batches < 2 {
        tokio::task::yield_now().await;
    }
    let waiting = send("waiting");
    while t.app.writers.waiting() < 1 {
        tokio::task::yield_now().await;
    }
    taken.abort();
    waiting.abort();
    assert!(taken.await.is_err() && waiting.await.is_err(), "both have hung up");
    txn.rollback().await.expect("the lock is released");
    assert!(t.sends(&team.key).await, "the writer goes on");

    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 3);
    for (key, replayed) in [("taken", true), ("waiting", false)] {
        let answer = t.send(&team.key, keyed(key)).await;
        assert_eq!(answer.data()["sendMessage"]["replayed"], replayed, "{key}");
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 4);
    Arc::into_inner(t).expect("every sender has ended").close().await;
}

const SEND_MANY: &str = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                         { message { id } errors { code message } } }";

fn hundred(name: &str) -> Value {
    let message = |number| {
        let key = format!("{name}-{number}");
        json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": key })
    };
    json!({ "input": (0..100).map(message).collect::<Vec<_>>() })
}

/// A full queue refuses at once, a whole call or nothing of it, and leaves room for other teams.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_fills_half_of_the_queue_at_most(database: Database) {
    // The lock is waited for until the queue is full, however slow the machine.
    let setup = Setup { batch_deadline: Some(Duration::from_mins(10)), ..Setup::default() };
    let t = TestApp::start_with(database, setup).await;
    let (team, other) = (t.team(1_000_000).await, t.team(1_000).await);
    assert!(t.sends(&team.key).await && t.sends(&other.key).await, "the connections stand");
    let t = Arc::new(t);
    let txn = lock(&t, &team).await;
    let first = send_at_once(&t, &team.key, 1);
    while t.app.writers.taken().batches < 3 {
        tokio::task::yield_now().await;
    }

    let calls = WAITING_OF_TEAM_MAX / 100;
    let filling: Vec<_> = (0..calls)
        .map(|call| {
            let (t, key) = (Arc::clone(&t), team.key.clone());
            let variables = hundred(&format!("call-{call}"));
            tokio::spawn(async move { t.ask_with(&key, SEND_MANY, variables).await })
        })
        .collect();
    while t.app.writers.waiting() < calls * 100 {
        tokio::task::yield_now().await;
    }
    let refused = t.ask_with(&team.key, SEND_MANY, hundred("late")).await;
    let payloads = refused.data()["sendMessages"].as_array().expect("a list").clone();
    let mut last = hundred("last");
    last["input"].as_array_mut().expect("a list").truncate(WAITING_OF_TEAM_MAX % 100);
    let (rest_t, key) = (Arc::clone(&t), team.key.clone());
    let rest = tokio::spawn(async move { rest_t.ask_with(&key, SEND_MANY, last).await });
    while t.app.writers.waiting() < WAITING_OF_TEAM_MAX {
        tokio::task::yield_now().await;
    }
    let single = t.send(&team.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    let others = send_at_once(&t, &other.key, 1);
    txn.rollback().await.expect("the lock is released");

    assert_eq!(payloads.len(), 100);
    assert!(payloads.iter().all(|payload| payload["errors"][0]["code"] == "OVERLOADED"));
    assert_eq!(single.codes(), ["UNAVAILABLE"]);
    assert_eq!(single.body["errors"][0]["extensions"]["retryAfterSeconds"], 1);
    for answer in all(filling.into_iter().chain([rest])).await {
        let payloads = answer.data()["sendMessages"].as_array().expect("a list").clone();
        assert!(payloads.iter().all(|payload| payload["errors"] == json!([])));
    }
    for answer in [all(first).await, all(others).await].into_iter().flatten() {
        assert_eq!(answer.refusals(), [""; 0]);
    }
    let expected = i64::try_from(WAITING_OF_TEAM_MAX).expect("a small number") + 4;
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, expected);
    Arc::into_inner(t).expect("every sender has ended").close().await;
}

/// A list has at most 100 messages; an empty one is answered with an empty one.
#[db_test]
#[tokio::test]
async fn a_call_takes_from_none_to_a_hundred(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;

    let none = t.ask_with(&team.key, SEND_MANY, json!({ "input": [] })).await;
    assert_eq!(none.data()["sendMessages"], json!([]));
    let before = t.everything().await;
    let mut many = hundred("many");
    let one_more = many["input"][0].clone();
    many["input"].as_array_mut().expect("a list").push(one_more);
    assert_eq!(t.ask_with(&team.key, SEND_MANY, many).await.codes(), ["BAD_USER_INPUT"]);
    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// What waits when the server stops is still answered; what comes later is not taken.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_writer_works_off_what_waits(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1_000).await;
    assert!(t.sends(&team.key).await, "the writer's connection stands");
    let t = Arc::new(t);
    let txn = lock(&t, &team).await;
    let first = send_at_once(&t, &team.key, 1);
    while t.app.writers.taken().batches < 2 {
        tokio::task::yield_now().await;
    }
    let waiting = send_at_once(&t, &team.key, 20);
    while t.app.writers.waiting() < 20 {
        tokio::task::yield_now().await;
    }

    let closing = {
        let t = Arc::clone(&t);
        tokio::spawn(async move { t.app.writers.close().await })
    };
    while !t.app.writers.are_closed() {
        tokio::task::yield_now().await;
    }
    let late = t.send(&team.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    txn.rollback().await.expect("the lock is released");
    closing.await.expect("the writer ends");

    assert_eq!(late.codes(), ["UNAVAILABLE"]);
    for answer in [all(first).await, all(waiting).await].into_iter().flatten() {
        assert_eq!(answer.refusals(), [""; 0]);
    }
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 22);
    Arc::into_inner(t).expect("every sender has ended").close().await;
}

/// A message that the database refuses fails alone, whatever batch it is in.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_message_fails_alone(database: Database) {
    // No message of ours is refused by the database, so one is planted: a status of NULL.
    let texts = |backend| {
        let texts = Statements::of(backend);
        // Where the status stands in the statement of a batch, and what comes before it.
        let (before, status, text) = match database {
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
    let backend = match database {
        Sqlite => sea_orm::DbBackend::Sqlite,
        Postgres => sea_orm::DbBackend::Postgres,
    };
    let setup = Setup { texts: Some(texts(backend)), ..Setup::default() };
    let t = TestApp::start_with(database, setup).await;
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
        let (text, answer) = sent.expect("an answer");
        match text {
            "Bad" => assert_eq!(answer.codes(), ["INTERNAL_SERVER_ERROR"]),
            _ => assert_eq!(answer.refusals(), [""; 0]),
        }
    }

    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 57);
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 57);
    Arc::into_inner(t).expect("every sender has ended").close().await;
}

/// A deadlock or a serialization failure undoes a batch; it is tried again, and charged once.
#[needs_postgres]
#[rstest]
#[case("40P01")]
#[case("40001")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_collides_is_tried_again(#[case] code: &str) {
    let lock_teams = "SELECT id, collide() FROM team WHERE id = ANY('{ids}'::uuid[]) \
                      ORDER BY id FOR UPDATE";
    // The ordinary route alone.
    let accept_one = "SELECT 1 WHERE $1::uuid IS NULL AND $2::uuid IS NULL AND $3::uuid IS NULL \
                      AND $4::uuid IS NULL AND $5::text IS NULL AND $6::text IS NULL \
                      AND $7::text IS NULL AND $8::text IS NULL AND $9::text IS NULL \
                      AND $10::int IS NULL AND $11::uuid IS NULL AND $12::bigint IS NULL \
                      AND $13::text IS NULL AND $14::bytea IS NULL AND $15::text IS NULL \
                      AND $16::timestamptz IS NULL AND $17::date IS NULL";
    let texts = Statements::of(sea_orm::DbBackend::Postgres);
    let texts = Some(Statements { lock_teams, accept_one, ..texts });
    let setup = Setup { texts, ..Setup::default() };
    let t = TestApp::start_with(Postgres, setup).await;
    t.execute(&format!(
        "CREATE SEQUENCE tries; GRANT USAGE ON SEQUENCE tries TO PUBLIC; \
         CREATE FUNCTION collide() RETURNS int LANGUAGE plpgsql AS \
         $$ BEGIN IF nextval('tries') = 1 THEN RAISE EXCEPTION USING ERRCODE = '{code}'; END IF; \
         RETURN 1; END $$"
    ))
    .await;
    let team = t.team(1_000).await;

    assert!(t.sends(&team.key).await);

    assert_eq!(t.number("SELECT last_value FROM tries").await, 2, "the second try passed");
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 1);
    t.close().await;
}

/// A connection that is lost during COMMIT: the message is looked for, and sent again if it is not there.
#[needs_postgres]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_gets_no_answer_is_looked_after() {
    let t = TestApp::start(Postgres).await;
    // The first COMMIT ends its own session before it is done.
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
    assert_eq!(t.number("SELECT last_value FROM commits").await, 2, "the second COMMIT passed");
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 1);
    t.close().await;
}

/// A COMMIT that was done, and whose answer was lost: the messages are found, and not charged again. By
/// the short route, and by the ordinary one.
#[needs_postgres]
#[rstest]
#[case::short(1, &["Look after me"])]
#[case::ordinary(7, &["Look after me", "COMMIT"])]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_found(
    #[case] count: usize,
    #[case] words: &'static [&'static str],
) {
    let t = TestApp::start(Postgres).await;
    let team = t.team(1_000).await;
    let cut = Cut::after(words, t.postgres_port()).await;
    let far = t.behind(&cut).await;

    let input = vec![json!({ "to": "+12025550123", "text": "Look after me" }); count];
    let answer = far.ask_with(&team.key, SEND_MANY, json!({ "input": input })).await;

    assert_eq!(cut.cuts(), 1, "an answer was lost");
    assert_eq!(codes(&answer), vec![""; count]);
    let (count, total) = (i64::try_from(count).expect("a small number"), "SELECT COUNT(*) FROM");
    assert_eq!(t.number(&format!("{total} message")).await, count);
    assert_eq!(t.number(&format!("{total} ledger_entry WHERE kind = 'CHARGE'")).await, count);
    far.close().await;
    t.close().await;
}

/// A lock that is held for too long costs its own team an UNAVAILABLE, and other teams nothing.
#[needs_postgres]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_too_long_is_not_waited_for() {
    let t = TestApp::start(Postgres).await;
    let team = t.team(1_000).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(t.team(1_000).await);
    }
    let t = Arc::new(t);
    let txn = lock(&t, &team).await;

    let mut sends = send_at_once(&t, &team.key, 5);
    let of_others: Vec<_> = others.iter().flat_map(|o| send_at_once(&t, &o.key, 5)).collect();
    for answer in all(of_others).await {
        assert_eq!(answer.refusals(), [""; 0]);
    }
    let last = tokio::time::timeout(Duration::from_secs(30), all(std::mem::take(&mut sends)));
    for answer in last.await.expect("every send is answered") {
        assert_eq!(answer.codes(), ["UNAVAILABLE"]);
    }
    txn.rollback().await.expect("the lock is released");

    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 20);
    assert!(t.sends(&team.key).await, "once the lock is free");
    Arc::into_inner(t).expect("every sender has ended").close().await;
}

/// Changes of two teams that wait for the rows of their teams leave the worker two of the eight connections that write.
#[needs_postgres]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_wait_leave_connections_to_the_worker() {
    let t = TestApp::start(Postgres).await;
    let (teams, beside) = ([t.team(0).await, t.team(0).await], t.beside(Setup::default()).await);
    let t = Arc::new(t);
    let locks = [lock(&beside, &teams[0]).await, lock(&beside, &teams[1]).await];
    let create = "mutation { createSubAccount(input: { name: \"One\" }) { errors { code } } }";
    let changes: Vec<_> = (0..10)
        .map(|at| {
            let (t, key) = (Arc::clone(&t), teams[at % 2].key.clone());
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
    let _ = beside.app.db.close().await;
    Arc::into_inner(t).expect("every change has ended").close().await;
}
