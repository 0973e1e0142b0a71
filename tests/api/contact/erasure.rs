//! Erasing a contact: which data is removed, which data remains, and which messages prevent the erasure.

use std::{path::Path, sync::Arc, time::Duration};

use db_test::db_test;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tollgate::worker::{self, ClockWatch};

use crate::harness::{Answer, Database, Postgres, Sqlite, TestApp, UNKNOWN_IDS, text};

async fn delete(t: &TestApp, key: &str, id: &str) -> Answer {
    let query = "mutation($id: ID!) { deleteContact(id: $id) \
                 { contactId messagesErased errors { code message field } } }";
    t.ask_with(key, query, json!({ "id": id })).await
}

async fn messages(t: &TestApp, key: &str) -> Value {
    let query = "{ messages { nodes { to text subject status cost errorCode errorMessage metadata \
                 idempotencyKey refundedAt } } }";
    t.ask(key, query).await.data()["messages"]["nodes"].clone()
}

/// Messages to the person keep their cost, status and idempotency key. Other messages, and other accounts' messages to
/// the same address, do not change.
#[db_test]
async fn an_erasure_removes_personal_data_and_keeps_the_charges(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let (id, _) = t.contact(&sub.key, &["+12025550123", "+15005550001", "ada@example.com"]).await;
    let (other, _) = t.contact(&sub.key, &["+12025550124"]).await;
    let first = json!({ "to": "+12025550123", "text": "Dear Ada", "idempotencyKey": "a",
                        "metadata": { "order": 7 } });
    for input in [
        first.clone(),
        json!({ "to": "+15005550001", "text": "Fails" }),
        json!({ "to": "ada@example.com", "subject": "Ada", "text": "Mail" }),
        json!({ "to": "+12025550123", "channel": "WHATSAPP", "text": "Another channel" }),
        json!({ "to": "+12025550124", "text": "Another person" }),
    ] {
        assert_eq!(t.send(&sub.key, input).await.refusals(), [""; 0]);
    }
    assert!(t.sends(&test_key).await && t.sends(&team.key).await);
    t.deliver().await;
    let ledger = "{ ledger { nodes { id amount balanceAfter messageId createdAt } } \
                  account { totalSpent usage { totals { messages spent } } } }";
    let money = t.ask(&sub.key, ledger).await.body;
    let (mut before, others) = (messages(t, &sub.key).await, messages(t, &team.key).await);

    let erased = delete(t, &sub.key, &id).await;

    let expected = json!({ "contactId": id, "messagesErased": 4, "errors": [] });
    assert_eq!(erased.data()["deleteContact"], expected);
    // Messages are listed newest first, so the person's three messages are the last ones in the list.
    for at in 2..5 {
        for field in ["to", "text", "subject", "errorMessage"] {
            before[at][field] = json!(null);
        }
    }
    assert_eq!(messages(t, &sub.key).await, before);
    assert_eq!(before[3]["errorCode"], "SANDBOX_REJECTED");
    assert_ne!(before[3]["refundedAt"], json!(null));
    assert_eq!((&before[4]["status"], &before[4]["cost"]), (&json!("DELIVERED"), &json!(1)));
    assert_eq!(messages(t, &test_key).await[0]["to"], json!(null));
    assert_eq!(messages(t, &team.key).await, others);
    assert_eq!(t.ask(&sub.key, ledger).await.body, money);
    let contacts = t.ask(&sub.key, "{ contacts { nodes { id } } }").await;
    assert_eq!(contacts.data()["contacts"]["nodes"], json!([{ "id": other }]));
    for (_, rows) in t.everything().await {
        assert!(!rows.iter().any(|row| row.contains("ada@") || row.contains("Dear Ada")));
    }

    // The content of the first message was erased. The server can no longer tell whether another send with the same
    // idempotency key is a repeat, so it refuses the send.
    let before = t.everything().await;
    for to in ["+12025550123", "+12025550124"] {
        let mut repeat = first.clone();
        repeat["to"] = json!(to);
        assert_eq!(t.send(&sub.key, repeat.clone()).await.refusals(), ["IDEMPOTENCY_CONFLICT"]);
        let query = "query($input: SendMessageInput!) { messageQuote(input: $input) \
                     { cost errors { code } } }";
        let quote = t.ask_with(&sub.key, query, json!({ "input": repeat })).await;
        assert_eq!(quote.refusals(), ["IDEMPOTENCY_CONFLICT"]);
    }
    assert_eq!(t.everything().await, before);
    let hashes = "SELECT COUNT(*) FROM message WHERE recipient = '' AND length(input_hash) > 0";
    assert_eq!(t.number(hashes).await, 0);
    for to in ["", " ", "+12025550123"] {
        let query = "query($to: String) { messages(filter: { to: $to }) { totalCount } }";
        let found = t.ask_with(&sub.key, query, json!({ "to": to })).await;
        let count = i32::from(to.starts_with('+'));
        assert_eq!(found.data()["messages"]["totalCount"], count, "{to:?}");
    }
    let (again, _) = t.contact(&sub.key, &["+12025550123", "ada@example.com"]).await;
    assert_ne!(again, id, "the address is free again");
}

/// LIVE and TEST messages prevent the erasure until they have been submitted to the carrier. A refused erasure erases
/// nothing.
#[db_test]
async fn a_waiting_message_prevents_the_erasure(t: &TestApp) {
    let team = t.team(1000).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let (id, _) = t.contact(&team.key, &["+12025550123", "ada@example.com"]).await;
    let mail = json!({ "to": "ada@example.com", "text": "Mail" });
    assert_eq!(t.send(&team.key, mail).await.refusals(), [""; 0]);
    t.deliver().await;

    for key in [&team.key, &test_key] {
        assert!(t.sends(key).await);
        let before = t.everything().await;
        assert_eq!(delete(t, &team.key, &id).await.refusals(), ["CONTACT_IN_USE"]);
        t.execute("UPDATE message SET status = 'SENDING' WHERE status = 'QUEUED'").await;
        assert_eq!(delete(t, &team.key, &id).await.refusals(), ["CONTACT_IN_USE"]);
        t.execute("UPDATE message SET status = 'QUEUED' WHERE status = 'SENDING'").await;
        assert_eq!(t.everything().await, before);
        t.deliver().await;
    }

    let erased = delete(t, &team.key, &id).await;
    assert_eq!(erased.data()["deleteContact"]["messagesErased"], 3);
}

/// Until the erasure is repeated, the contact receives no messages and cannot be changed.
#[db_test]
async fn an_interrupted_erasure_is_completed_by_a_repeat(t: &TestApp) {
    let team = t.team(10_000).await;
    let (id, addresses) = t.contact(&team.key, &["+12025550123", "ada@example.com"]).await;
    let (other, _) = t.contact(&team.key, &["+12025550124"]).await;
    let to_contact = json!({ "to": null, "contactId": id });
    t.send_many(&team.key, 600, to_contact).await;
    t.deliver().await;
    t.plant_failure_after("recipient", 500, "recipient = ''").await;

    assert_eq!(delete(t, &team.key, &id).await.codes(), ["INTERNAL_SERVER_ERROR"]);

    let erased = "SELECT COUNT(*) FROM message WHERE recipient = ''";
    assert_eq!(t.number(erased).await, 500);
    let before = t.everything().await;
    let send = t.send(&team.key, json!({ "contactId": id, "text": "Hi" })).await;
    assert_eq!(send.refusals(), ["CONTACT_NOT_FOUND"]);
    for call in [
        format!("updateContact(id: \"{id}\", input: {{ tags: [\"a\"] }})"),
        format!("addContactAddress(contactId: \"{id}\", input: {{ address: \"a@example.com\" }})"),
        format!("updateContactAddress(id: \"{}\", input: {{ label: \"a\" }})", addresses[0]),
        format!("removeContactAddress(id: \"{}\")", addresses[0]),
        format!("mergeContacts(input: {{ keepId: \"{other}\", mergeId: \"{id}\" }})"),
        format!("mergeContacts(input: {{ keepId: \"{id}\", mergeId: \"{other}\" }})"),
    ] {
        let refused =
            t.ask(&team.key, &format!("mutation {{ {call} {{ errors {{ code }} }} }}")).await;
        assert_eq!(refused.refusals(), ["CONTACT_IN_USE"], "{call}");
    }
    assert_eq!(t.everything().await, before);

    t.remove_failure().await;
    let done = delete(t, &team.key, &id).await;
    assert_eq!(done.data()["deleteContact"]["messagesErased"], 100);
    assert_eq!((t.number(erased).await, t.number("SELECT COUNT(*) FROM contact").await), (600, 1));
}

#[db_test]
async fn a_message_to_the_address_during_the_erasure_does_not_stop_it(
    t: &TestApp,
    database: Database,
) {
    let team = t.team(1_000).await;
    let (id, _) = t.contact(&team.key, &["+12025550123"]).await;
    assert!(t.sends(&team.key).await);
    t.deliver().await;
    // The trigger simulates a message that is accepted between two steps of the erasure.
    let same = "id, team_id, account_id, api_key_id, environment";
    let copy = match database {
        Sqlite => ("randomblob(16)", "x''"),
        Postgres => ("gen_random_uuid()", "''::bytea"),
    };
    let insert = format!(
        "INSERT INTO message ({same}, channel, status, recipient, text, segments, cost_micros, input_hash, \
         created_at, updated_at) SELECT {}, team_id, account_id, api_key_id, 'TEST', 'SMS', 'QUEUED', \
         '+12025550123', 'Hello', 1, 0, {}, created_at, updated_at FROM message WHERE environment = 'LIVE'",
        copy.0, copy.1
    );
    let trigger = match database {
        Sqlite => {
            format!("CREATE TRIGGER sent AFTER UPDATE OF recipient ON message BEGIN {insert}; END")
        }
        Postgres => format!(
            "CREATE FUNCTION sent() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN {insert}; RETURN NULL; END $$; \
             CREATE TRIGGER sent AFTER UPDATE OF recipient ON message \
             FOR EACH ROW EXECUTE FUNCTION sent()"
        ),
    };
    t.execute(&trigger).await;

    let done = delete(t, &team.key, &id).await;

    assert_eq!(done.data()["deleteContact"]["messagesErased"], 1);
    assert_eq!(t.number("SELECT COUNT(*) FROM contact").await, 0);
    let waits =
        "SELECT COUNT(*) FROM message WHERE recipient = '+12025550123' AND status = 'QUEUED'";
    assert_eq!(t.number(waits).await, 1);
    t.count_test_messages().await;
}

#[db_test]
async fn a_later_delivery_report_restores_no_personal_data(t: &TestApp) {
    use tollgate::domain::message::delivery::{self, Outcome};
    let team = t.team(1000).await;
    let (id, _) = t.contact(&team.key, &["+12025550123"]).await;
    assert!(t.sends(&team.key).await);
    t.deliver_due().await;
    t.step(chrono::TimeDelta::seconds(1));
    let claimed = delivery::claim(&t.app).await.expect("the report is due").messages;

    let erased = delete(t, &team.key, &id).await;
    assert_eq!(erased.data()["deleteContact"]["messagesErased"], 1);
    let text = "No such number: +12025550123.".to_owned();
    let outcome = Outcome::Undelivered { code: "NO_SUCH_NUMBER".to_owned(), text };
    let settled = claimed.into_iter().map(|claimed| (claimed, outcome.clone())).collect();
    delivery::settle(&t.app, settled).await.expect("it is settled");

    let message = &messages(t, &team.key).await[0];
    assert_eq!(message["status"], "UNDELIVERED");
    assert_eq!(message["errorCode"], "NO_SUCH_NUMBER");
    assert_eq!((&message["errorMessage"], &message["to"]), (&json!(null), &json!(null)));
}

/// The erasure also finds the contact's first and last message.
#[db_test]
async fn an_erasure_in_several_steps_finds_all_messages(t: &TestApp, database: Database) {
    let team = t.team(1000).await;
    let (id, _) = t.contact(&team.key, &["+12025550123"]).await;
    assert!(t.sends(&team.key).await);
    t.deliver().await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    for _ in 0..2 {
        assert!(t.sends(&test_key).await);
    }
    t.deliver().await;
    // Inserts 20,001 TEST messages. Messages to the contact are the first and the last of them, and three in between.
    // All others are to another recipient.
    let (id_of, none) = match database {
        Sqlite => ("unhex(printf('%012x7%03x80%014x', n / 4096, n % 4096, n))", "randomblob(1)"),
        Postgres => (
            "(lpad(to_hex(n / 4096), 12, '0') || '7' || lpad(to_hex(n % 4096), 3, '0') || '80' || \
             lpad(to_hex(n), 14, '0'))::uuid",
            "''::bytea",
        ),
    };
    t.execute(&format!(
        "INSERT INTO message (id, team_id, account_id, api_key_id, environment, channel, status, recipient, \
         text, segments, cost_micros, input_hash, created_at, updated_at) \
         WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 20001) \
         SELECT {id_of}, m.team_id, m.account_id, m.api_key_id, 'TEST', 'SMS', 'DELIVERED', \
         CASE WHEN n IN (1, 10000, 10001, 20000, 20001) THEN '+12025550123' ELSE '+12025550199' END, \
         'Hello', 1, 0, {none}, m.created_at, m.updated_at FROM r, \
         (SELECT * FROM message WHERE environment = 'LIVE') AS m"
    ))
    .await;
    t.count_test_messages().await;

    let erased = delete(t, &team.key, &id).await;

    assert_eq!(erased.data()["deleteContact"]["messagesErased"], 1 + 2 + 5);
    let left = "SELECT COUNT(*) FROM message WHERE recipient = '+12025550123'";
    assert_eq!(t.number(left).await, 0);
    assert_eq!(t.number("SELECT COUNT(*) FROM message WHERE text = 'Hello'").await, 19_996);
}

/// Not even the main account can erase a contact of its sub-account.
#[db_test]
async fn a_contact_of_another_account_is_not_found(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let (id, _) = t.contact(&sub.key, &["+12025550123"]).await;
    assert!(t.sends(&sub.key).await && t.sends(&team.key).await);
    t.deliver().await;
    let before = t.everything().await;

    let unknown = delete(t, &team.key, UNKNOWN_IDS[0]).await.body;
    assert_eq!(text(&unknown["data"]["deleteContact"]["errors"][0]["code"]), "NOT_FOUND");
    for id in [&id, UNKNOWN_IDS[1]] {
        assert_eq!(delete(t, &team.key, id).await.body, unknown);
    }
    assert_eq!(t.everything().await, before);
}

/// Returns the words that occur in the files of a database.
fn found(folder: &Path, words: &[String]) -> Vec<String> {
    let files = std::fs::read_dir(folder).expect("the database's folder");
    let files = files.map(|file| std::fs::read(file.expect("a file").path()).expect("its bytes"));
    let bytes: Vec<u8> = files.flatten().collect();
    let is_found = |word: &&String| bytes.windows(word.len()).any(|part| part == word.as_bytes());
    words.iter().filter(is_found).cloned().collect()
}

/// Erased data is gone from the files shortly after the response, while the server is still running. The data is not
/// written to the files again when the server stops.
#[db_test(sqlite)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_data_is_gone_from_the_database_files(t: &TestApp) {
    let folder = t.folder();
    let team = t.team(100_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let (number, email) = ("+12025550187", "quisling@example.com");
    let contact = json!({ "displayName": "Ada Quisling", "metadata": { "note": "likes bees" },
                          "tags": ["beekeeper"],
                          "addresses": [{ "address": number, "label": "hive" }, { "address": email }] });
    let made = t.create_contact(&sub.key, contact).await;
    let id = text(&made.data()["createContact"]["contact"]["id"]);
    let mut words: Vec<String> =
        ["Quisling", "quisling", "likes bees", "beekeeper", "hive", "2025550187"]
            .map(str::to_owned)
            .into();
    for at in 0..20 {
        let word = format!("word-{at}-of-hers");
        let long = format!("{word} ").repeat(if at % 5 == 0 { 2_000 } else { 3 });
        for input in [
            json!({ "to": number, "text": word, "idempotencyKey": format!("key-{at}") }),
            json!({ "contactId": id, "channel": "EMAIL", "subject": word, "text": "Mail", "html": long }),
            json!({ "to": "+12025550124", "text": "To another person" }),
        ] {
            assert_eq!(t.send(&sub.key, input).await.refusals(), [""; 0]);
        }
        words.push(word);
    }
    t.deliver().await;
    assert_eq!(found(folder.path(), &words), words);
    let stop = CancellationToken::new();
    let (_, key_uses) = mpsc::channel(1);
    let watch = ClockWatch::new(&*t.clock, || Duration::ZERO);
    let working = tokio::spawn(worker::run(Arc::clone(&t.app), key_uses, watch, stop.clone()));

    assert_eq!(delete(t, &sub.key, &id).await.data()["deleteContact"]["messagesErased"], 40);

    let is_gone = async {
        while !found(folder.path(), &words).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_gone).await.expect("the bytes are gone");
    assert_eq!(found(folder.path(), &["To another person".to_owned()]).len(), 1);
    stop.cancel();
    working.await.expect("the worker stops");
    t.close().await;
    assert_eq!(found(folder.path(), &words), [""; 0]);
}

#[db_test(sqlite)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_ahead_log_is_emptied_when_no_reader_or_writer_needs_it(t: &TestApp) {
    let log = t.folder().path().join("test.db-wal");
    let bytes = || std::fs::metadata(&log).expect("the log").len();
    t.team(0).await;
    assert!(bytes() > 0);

    let reading = t.app.db.read.snapshot().await.expect("a reader");
    // The reader uses the write-ahead log only after its first statement.
    sea_orm::ConnectionTrait::execute_unprepared(&reading, "SELECT COUNT(*) FROM team")
        .await
        .expect("the read succeeds");
    assert!(!t.app.db.empty_log().await.expect("it is tried"));
    assert!(bytes() > 0);
    // The reader's snapshot is now older than the newest change.
    t.team(0).await;
    assert!(!t.app.db.empty_log().await.expect("it is tried"));
    assert!(bytes() > 0);
    reading.end().await.expect("the reader ends");
    let writing = t.app.db.begin_write().await.expect("a writer");
    assert!(!t.app.db.empty_log().await.expect("it is tried"));
    writing.rollback().await.expect("the writer ends");
    assert!(t.app.db.empty_log().await.expect("it is tried"));
    assert_eq!(bytes(), 0);
    assert!(t.app.db.empty_log().await.expect("nothing is left to do"));
}
