//! Stored TEST messages: their maximum number and size, and how long they are kept.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use db_test::db_test;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tollgate::{
    app::App,
    domain::{
        Fault,
        billing::{
            self,
            test_storage::{TEST_BYTES_MAX, TEST_MESSAGES_MAX},
        },
        message::{
            delivery,
            test_retention::{
                self, DELETED_TOGETHER_MAX, Deleted, RetentionPosition, TEST_KEPT_FOR,
            },
        },
    },
};

use crate::harness::{Answer, Database, NOON, Postgres, Sqlite, TestApp, text};

const SEND_MANY: &str = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                         { message { id } errors { code field } } }";
const QUOTE: &str = "query($input: SendMessageInput!) { messageQuote(input: $input) \
                     { cost wouldBeAccepted errors { code field } } }";

/// Deletes the TEST messages whose retention has ended, as a worker does at the beginning of a round. Returns the
/// number of deleted messages.
async fn delete_ended(app: &App) -> Result<usize, Fault> {
    Ok(test_retention::delete_ended(app, None).await?.messages)
}

async fn send_many(t: &TestApp, key: &str, input: Vec<Value>) -> Answer {
    t.ask_with(key, SEND_MANY, json!({ "input": input })).await
}

/// Returns the error code of each payload of a `sendMessages` call. The code of an accepted message is empty.
fn codes(answer: &Answer) -> Vec<String> {
    let payloads = answer.data()["sendMessages"].as_array().expect("a list");
    let code = |payload: &Value| payload["errors"][0]["code"].as_str().unwrap_or("").to_owned();
    payloads.iter().map(code).collect()
}

fn input(text: &str) -> Value {
    json!({ "to": "+12025550123", "text": text })
}

fn keyed(key: &str, text: &str) -> Value {
    json!({ "to": "+12025550123", "text": text, "idempotencyKey": key })
}

/// Adds to the account's counts of stored TEST messages and of their bytes.
async fn store(t: &TestApp, account_id: &str, messages: i64, bytes: i64) {
    let id = match t.app.db.backend() {
        sea_orm::DbBackend::Postgres => format!("'{account_id}'"),
        _ => format!("x'{}'", account_id.replace('-', "")),
    };
    t.execute(&format!(
        "UPDATE account SET test_message_count = test_message_count + {messages}, \
         test_message_bytes = test_message_bytes + {bytes} WHERE id = {id}"
    ))
    .await;
}

/// Returns the total number of stored TEST messages of all accounts, and the total number of their bytes.
async fn stored(t: &TestApp) -> (i64, i64) {
    let sum = |column| format!("SELECT CAST(SUM({column}) AS BIGINT) FROM account");
    (t.number(&sum("test_message_count")).await, t.number(&sum("test_message_bytes")).await)
}

/// At the limit, quotes are refused too. Other accounts, repeats and LIVE messages are not affected.
#[db_test]
async fn the_number_and_bytes_of_stored_test_messages_are_limited_per_account(t: &TestApp) {
    let team = t.team(1_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test = t.api_key(&team, &sub.id, "TEST").await;
    let other = t.api_key(&team, &team.main_account_id, "TEST").await;
    let sent = t.send(&test, keyed("first", "Hello")).await;
    assert_eq!(sent.refusals(), [""; 0]);
    assert_eq!(stored(t).await, (1, 5));

    for (messages, bytes) in [(TEST_MESSAGES_MAX - 3, 0), (0, TEST_BYTES_MAX - 25)] {
        store(t, &sub.id, messages, bytes).await;
        let of_metadata = json!({ "to": "+12025550123", "text": "Hel", "metadata": {} });
        let three = vec![input("Hello"), of_metadata, input("Hello")];
        let answer = send_many(t, &test, three).await;
        assert_eq!(codes(&answer), ["", "", "TEST_STORAGE_FULL"]);
        let before = t.everything().await;

        let one = t.send(&test, input("H")).await;
        assert_eq!(one.refusals(), ["TEST_STORAGE_FULL"]);
        assert_eq!(one.data()["sendMessage"]["errors"][0]["field"], json!([]));
        let many = send_many(t, &test, vec![input("H"); 7]).await;
        assert_eq!(codes(&many), ["TEST_STORAGE_FULL"; 7]);
        let quote = t.ask_with(&test, QUOTE, json!({ "input": input("H") })).await;
        let refused = json!({ "cost": 0, "wouldBeAccepted": false,
                              "errors": [{ "code": "TEST_STORAGE_FULL", "field": [] }] });
        assert_eq!(quote.data()["messageQuote"], refused);
        // This message is refused for another reason. This reason is checked before the storage limit.
        let opposed = t.send(&test, json!({ "to": "+15005550005", "text": "H" })).await;
        assert_eq!(opposed.refusals(), ["INSUFFICIENT_BALANCE"]);
        let repeat = t.send(&test, keyed("first", "Hello")).await;
        assert_eq!(repeat.data()["sendMessage"]["replayed"], true);
        assert_eq!(t.everything().await, before);

        assert!(t.sends(&sub.key).await && t.sends(&other).await);
        let mixed = vec![input("Hello"); 3];
        assert_eq!(codes(&send_many(t, &sub.key, mixed).await), [""; 3]);
        store(t, &sub.id, -messages, -bytes).await;
    }

    let quote = t.ask_with(&test, QUOTE, json!({ "input": input("H") })).await;
    assert_eq!(quote.data()["messageQuote"]["wouldBeAccepted"], true);
    // Five messages of the sub-account are stored (one, then two in each round), and two of the main account. Each
    // message has 5 bytes.
    assert_eq!(stored(t).await, (7, 5 + 2 * 10 + 2 * 5));
}

/// The counts in the row are also correct after a batch with several accounts and both environments.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_test_messages_are_counted_in_the_row_of_their_account(t: &TestApp) {
    let team = t.team(10_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let of_sub = t.api_key(&team, &sub.id, "TEST").await;
    let of_main = t.api_key(&team, &team.main_account_id, "TEST").await;
    let updated = "SELECT COUNT(*) FROM account WHERE updated_at > created_at";
    let (sub_key, main_key) = (sub.key.clone(), team.key.clone());

    let calls = [&of_sub, &of_main].map(|key| send_many(t, key, vec![input("Hello"); 20]));
    futures_util::future::join_all(calls).await;
    t.step(TimeDelta::seconds(1));
    assert_eq!(t.number(updated).await, 0, "a TEST message changes no account");
    let keys = [&of_sub, &sub_key, &of_main, &main_key];
    let calls = keys.map(|key| send_many(t, key, vec![input("Hello"); 30]));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(codes(&answer), [""; 30]);
    }

    assert_eq!(stored(t).await, (100, 500));
    assert_eq!(t.number("SELECT COUNT(*) FROM message WHERE environment = 'LIVE'").await, 60);
}

/// The retention of seven days is exact to the millisecond. It begins at the acceptance, or at `sendAt` if `sendAt` is
/// later. LIVE messages are kept.
#[db_test]
async fn test_messages_are_deleted_after_seven_days(t: &TestApp) {
    let team = t.team(1_000).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    let noon: DateTime<Utc> = NOON.parse().expect("a time");
    let later = |days| (noon + TimeDelta::days(days)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let id = async |input: Value| {
        let sent = t.send(&test, input).await;
        assert_eq!(sent.refusals(), [""; 0]);
        text(&sent.data()["sendMessage"]["message"]["id"])
    };
    let delivered = id(keyed("again", "Hello")).await;
    let failed = id(json!({ "to": "+15005550001", "text": "Hello" })).await;
    let past = id(json!({ "to": "+12025550123", "text": "Hi", "sendAt": later(-9) })).await;
    let scheduled = id(json!({ "to": "+12025550123", "text": "Hi", "sendAt": later(20) })).await;
    assert_eq!(t.send(&team.key, keyed("again", "LIVE")).await.refusals(), [""; 0]);
    let is_there = async |id: &String| {
        let query = "query($id: ID!) { message(id: $id) { status } }";
        let answer = t.ask_with(&test, query, json!({ "id": id })).await;
        answer.data()["message"]["status"].as_str().map(str::to_owned)
    };
    t.deliver().await;
    let since_noon = || t.app.clock.now() - noon;
    let live = "SELECT COUNT(*) FROM message WHERE environment = 'LIVE' AND status = 'DELIVERED'";
    assert_eq!(is_there(&delivered).await.as_deref(), Some("DELIVERED"));

    t.step(TEST_KEPT_FOR - since_noon() - TimeDelta::milliseconds(1));
    let before = t.everything().await;
    assert_eq!(delete_ended(&t.app).await.expect("the deletion runs"), 0);
    assert_eq!(t.everything().await, before);
    assert_eq!(t.send(&test, keyed("again", "Other")).await.refusals(), ["IDEMPOTENCY_CONFLICT"]);
    t.step(TimeDelta::milliseconds(1));
    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), 3);
    assert_eq!(delete_ended(&t.app).await.expect("the deletion runs"), 0);
    for gone in [&delivered, &failed, &past] {
        assert_eq!(is_there(gone).await, None);
    }
    assert_eq!(is_there(&scheduled).await.as_deref(), Some("SCHEDULED"));
    assert_eq!((stored(t).await, t.number(live).await), ((1, 2), 1));
    t.assert_reconciled().await;

    // The idempotency key of a deleted message can be used again.
    let again = t.send(&test, keyed("again", "Other")).await;
    assert_eq!(
        (again.refusals(), &again.data()["sendMessage"]["replayed"]),
        (vec![], &json!(false))
    );
    let conflict = t.send(&team.key, keyed("again", "Other")).await;
    assert_eq!(conflict.refusals(), ["IDEMPOTENCY_CONFLICT"], "a LIVE message keeps its key");
    t.step(TimeDelta::days(27) - since_noon() - TimeDelta::milliseconds(1));
    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), 1);
    t.deliver().await;
    assert_eq!(is_there(&scheduled).await.as_deref(), Some("DELIVERED"));
    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), 1);
    assert_eq!((stored(t).await, t.number(live).await), ((0, 0), 1));
}

/// The limit of a round applies to all teams in total, even with two concurrent workers.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_deletes_a_limited_number_of_messages(t: &TestApp) {
    let mut calls = 0;
    for count in [5, 1] {
        let team = t.team(0).await;
        let test = t.api_key(&team, &team.main_account_id, "TEST").await;
        for _ in 0..count {
            assert_eq!(codes(&send_many(t, &test, vec![input("Hello"); 100]).await), [""; 100]);
            calls += 1;
        }
    }
    t.deliver().await;
    t.step(TEST_KEPT_FOR);
    let rows = async || t.number("SELECT COUNT(*) FROM message").await;

    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), DELETED_TOGETHER_MAX);
    let rest = calls * 100 - i64::try_from(DELETED_TOGETHER_MAX).expect("a small number");
    assert_eq!((stored(t).await, rows().await), ((rest, 5 * rest), rest));
    t.assert_reconciled().await;
    let (one, other) = tokio::join!(delete_ended(&t.app), delete_ended(&t.app));
    let both = one.expect("the messages are deleted") + other.expect("the messages are deleted");
    assert_eq!((i64::try_from(both), stored(t).await, rows().await), (Ok(rest), (0, 0), 0));
}

/// The worker continues with the other messages of its claim.
#[db_test]
async fn a_message_that_a_worker_has_claimed_is_deleted(t: &TestApp) {
    let team = t.team(1_000).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    assert!(t.sends(&test).await);
    t.step(TEST_KEPT_FOR);
    assert!(t.sends(&team.key).await);

    let claimed = delivery::claim(&t.app).await.expect("the messages are claimed").messages;
    assert_eq!(claimed.len(), 2);
    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), 1);
    let settled = claimed.into_iter().map(|claimed| (claimed, delivery::Outcome::Delivered));
    delivery::settle(&t.app, settled.collect()).await.expect("the messages are settled");

    let delivered = "SELECT COUNT(*) FROM message WHERE status = 'DELIVERED'";
    assert_eq!((t.number(delivered).await, stored(t).await), (1, (0, 0)));
}

/// The deletion of the remaining messages is retried in the next round.
#[db_test]
async fn a_message_that_cannot_be_deleted_delays_no_other(t: &TestApp, database: Database) {
    let (team, other) = (t.team(0).await, t.team(0).await);
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    let of_other = t.api_key(&other, &other.main_account_id, "TEST").await;
    let stuck = DELETED_TOGETHER_MAX + 1;
    for _ in 0..stuck / 100 {
        assert_eq!(codes(&send_many(t, &test, vec![input("Stuck"); 100]).await), [""; 100]);
    }
    let mixed = vec![input("Hello"), input("Stuck"), input("Hello")];
    assert_eq!(codes(&send_many(t, &test, mixed).await), [""; 3]);
    t.step(TimeDelta::seconds(1));
    assert_eq!(codes(&send_many(t, &of_other, vec![input("Hello"); 2]).await), [""; 2]);
    t.deliver().await;
    t.step(TEST_KEPT_FOR);
    let fails = match database {
        Postgres => vec![
            "CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'stuck' USING ERRCODE = '23514'; END $$",
            "CREATE TRIGGER stuck BEFORE DELETE ON message FOR EACH ROW WHEN (OLD.text = 'Stuck') \
             EXECUTE FUNCTION stuck()",
        ],
        Sqlite => vec![
            "CREATE TRIGGER stuck BEFORE DELETE ON message WHEN OLD.text = 'Stuck' \
             BEGIN SELECT RAISE(ABORT, 'stuck'); END",
        ],
    };
    for statement in fails {
        t.execute(statement).await;
    }

    let first = test_retention::delete_ended(&t.app, None).await.expect("the deletion runs");
    let position: Option<RetentionPosition> = first.position;
    assert!(first.messages == 0 && position.is_some());
    let second =
        test_retention::delete_ended(&t.app, position).await.expect("the messages are deleted");
    assert_eq!(second, Deleted { messages: 4, position: None });
    assert_eq!(stored(t).await, (501, 5 * 501));
    t.assert_reconciled().await;
    t.execute(match database {
        Postgres => "DROP TRIGGER stuck ON message",
        Sqlite => "DROP TRIGGER stuck",
    })
    .await;
    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), DELETED_TOGETHER_MAX);
    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), 1);
}

/// If the deletion waited for the message, a deadlock could occur, because the other transaction may need the team's
/// lock next.
#[db_test(postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_locked_by_another_transaction_is_deleted_later(t: &TestApp) {
    let team = t.team(0).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    let sent = t.send(&test, input("Held")).await;
    let held = text(&sent.data()["sendMessage"]["message"]["id"]);
    assert!(t.sends(&test).await);
    t.step(TEST_KEPT_FOR);
    let txn = t.app.db.begin_write().await.expect("a transaction");
    let hold = format!("SELECT 1 FROM message WHERE id = '{held}' FOR UPDATE");
    txn.execute_unprepared(&hold).await.expect("the row is held");

    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), 1);
    assert_eq!(stored(t).await, (1, 4));
    txn.rollback().await.expect("the row is free");
    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), 1);
    assert_eq!(stored(t).await, (0, 0));
}

/// Until these messages are deleted, the reconciliation reports the wrong count.
#[db_test]
async fn messages_that_an_older_version_did_not_count_are_deleted_too(t: &TestApp) {
    let team = t.team(0).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    assert_eq!(codes(&send_many(t, &test, vec![input("Hello"); 3]).await), [""; 3]);
    // An older version stored messages with this value, and did not add them to the account's counts.
    t.execute("UPDATE message SET word_bytes = 0").await;
    store(t, &team.main_account_id, -3, -15).await;
    t.step(TimeDelta::days(1));
    assert_eq!(codes(&send_many(t, &test, vec![input("Hello"); 2]).await), [""; 2]);
    assert_eq!(stored(t).await, (2, 10));
    let audited = billing::reconciliation::run(&t.app).await.expect("the audit runs").drifts;
    let drifts: Vec<_> =
        audited.iter().map(|drift| (drift.stored_micros, drift.ledger_micros)).collect();
    assert_eq!(drifts, [(2, 5)]);

    t.step(TEST_KEPT_FOR - TimeDelta::days(1));
    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), 3);
    assert_eq!(stored(t).await, (2, 10));
    t.assert_reconciled().await;
    t.step(TimeDelta::days(1));
    assert_eq!(delete_ended(&t.app).await.expect("the messages are deleted"), 2);
    assert_eq!(stored(t).await, (0, 0));
}

#[db_test]
#[case(1, 0, "an account's stored count of TEST messages is the number of those messages")]
#[case(0, 7, "an account's stored size of TEST messages is the total size of those messages")]
async fn the_audit_reports_the_account_with_a_wrong_count_and_the_difference(
    t: &TestApp,
    #[case] messages: i64,
    #[case] bytes: i64,
    #[case] check: &str,
) {
    let team = t.team(0).await;
    let test = t.api_key(&team, &team.main_account_id, "TEST").await;
    assert!(t.sends(&test).await);
    store(t, &team.main_account_id, messages, bytes).await;

    let drifts = billing::reconciliation::run(&t.app).await.expect("the audit runs").drifts;

    let found = drifts.iter().map(|drift| {
        let off = drift.stored_micros - drift.ledger_micros;
        (drift.check.as_str(), drift.id.to_string(), off)
    });
    let expected = (check, team.main_account_id.clone(), messages + bytes);
    assert_eq!(found.collect::<Vec<_>>(), [expected]);
    store(t, &team.main_account_id, -messages, -bytes).await;
}
