//! Senders: any LIVE key of an account can create, update, find and delete the account's senders. One of these senders
//! is the default.

use std::sync::Arc;

use db_test::db_test;
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait as _, DbBackend, EntityTrait as _, QueryTrait as _, Statement};
use serde_json::{Value, json};
use tollgate::domain::sender::{SENDERS_PER_ACCOUNT_MAX, waiting};

use crate::harness::{Answer, NOON, SENDER, Setup, TestApp, text};

mod identity;

async fn update(t: &TestApp, key: &str, id: &str, input: Value) -> Answer {
    let query = format!(
        "mutation($id: ID!, $input: UpdateSenderInput!) {{ updateSender(id: $id, input: $input) \
         {{ sender {SENDER} errors {{ code message field }} }} }}"
    );
    t.ask_with(key, &query, json!({ "id": id, "input": input })).await
}

async fn delete(t: &TestApp, key: &str, id: &str) -> Answer {
    let query = "mutation($id: ID!) { deleteSender(id: $id) { senderId errors { code field } } }";
    t.ask_with(key, query, json!({ "id": id })).await
}

/// Returns the names of the senders that a key sees and whether each is the default, newest first.
async fn listed(t: &TestApp, key: &str) -> Value {
    let query = "{ senders(first: 100) { nodes { name isDefault } } }";
    t.ask(key, query).await.data()["senders"]["nodes"].clone()
}

fn error(code: &str, field: &[&str]) -> Value {
    json!([{ "code": code, "field": field }])
}

/// Returns the errors of the only root field, without their messages.
fn errors_of(answer: &Answer) -> Value {
    let payload = answer.data().as_object().and_then(|data| data.values().next()).expect("a field");
    let errors = payload["errors"].as_array().expect("errors").iter();
    errors.map(|error| json!({ "code": error["code"], "field": error["field"] })).collect()
}

/// Keys of main accounts and of sub-accounts can create senders. A TEST key can read senders, but not change them.
#[db_test]
async fn a_sender_is_stored_in_normalized_form_and_shows_its_channels(t: &TestApp) {
    let (team, keys) = t.main_and_sub_keys().await;
    let input = json!({
        "name": " News ", "email": " News@Example.COM ", "emailName": " Acme, Inc. ",
        "whatsapp": "+1 (202) 555-0100", "telegram": " acme_bot ",
    });

    for key in &keys {
        let answer = t.create_sender(key, input.clone()).await;
        let made = &answer.data()["createSender"]["sender"];
        let expected = json!({
            "id": made["id"], "name": "News", "isDefault": true,
            "channels": ["EMAIL", "WHATSAPP", "TELEGRAM"],
            "email": "News@example.com", "emailName": "Acme, Inc.", "whatsapp": "+12025550100",
            "telegram": "@acme_bot", "createdAt": NOON.replace('Z', ".000Z"),
            "updatedAt": NOON.replace('Z', ".000Z"),
        });
        assert_eq!(*made, expected);
        let found = format!("query($id: ID!) {{ sender(id: $id) {SENDER} }}");
        let found = t.ask_with(key, &found, json!({ "id": made["id"] })).await;
        assert_eq!(found.data()["sender"], expected);
        // A sender without an identity supports no channel.
        let empty = t.create_sender(key, json!({ "name": "None" })).await;
        let empty = &empty.data()["createSender"]["sender"];
        assert_eq!((&empty["channels"], &empty["isDefault"]), (&json!([]), &json!(false)));
    }

    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let before = t.everything().await;
    assert_eq!(listed(t, &test_key).await, listed(t, &keys[0]).await);
    let id = t.ask(&test_key, "{ senders { nodes { id } } }").await;
    let id = text(&id.data()["senders"]["nodes"][0]["id"]);
    assert_eq!(t.create_sender(&test_key, json!({})).await.codes(), ["FORBIDDEN"]);
    assert_eq!(update(t, &test_key, &id, json!({ "name": "Mine" })).await.codes(), ["FORBIDDEN"]);
    assert_eq!(delete(t, &test_key, &id).await.codes(), ["FORBIDDEN"]);
    assert_eq!(t.everything().await, before);
}

/// Clearing the e-mail address also clears its display name.
#[db_test]
async fn an_update_keeps_omitted_fields_and_clears_null_ones(t: &TestApp) {
    let (_, [_, key]) = t.main_and_sub_keys().await;
    let input = json!({
        "name": "News", "email": "news@example.com", "emailName": "News",
        "whatsapp": "+12025550100",
        "telegram": "@acme_bot",
    });
    let made = t.create_sender(&key, input).await.data()["createSender"]["sender"].clone();
    let id = text(&made["id"]);
    let mut expected = made;
    t.step(chrono::TimeDelta::seconds(1));
    expected["updatedAt"] = json!("2026-03-16T12:00:01.000Z");

    for (input, changed) in [
        (json!({}), json!({})),
        (json!({ "name": "Letters" }), json!({ "name": "Letters" })),
        (json!({ "name": null, "isDefault": null }), json!({})),
        (json!({ "isDefault": true }), json!({})),
        (
            json!({ "emailName": null, "telegram": "Other_Bot" }),
            json!({ "emailName": null, "telegram": "@Other_Bot" }),
        ),
        (json!({ "emailName": "N" }), json!({ "emailName": "N" })),
        (
            json!({ "email": null }),
            json!({ "email": null, "emailName": null, "channels": ["WHATSAPP", "TELEGRAM"] }),
        ),
        (
            json!({ "email": "a@example.com", "emailName": "A", "whatsapp": null }),
            json!({ "email": "a@example.com", "emailName": "A", "whatsapp": null,
                    "channels": ["EMAIL", "TELEGRAM"] }),
        ),
        (
            json!({ "email": null, "emailName": null, "telegram": null }),
            json!({ "email": null, "emailName": null, "telegram": null, "channels": [] }),
        ),
    ] {
        for (field, value) in changed.as_object().expect("fields") {
            expected[field] = value.clone();
        }
        let answer = update(t, &key, &id, input.clone()).await;
        assert_eq!(answer.data()["updateSender"]["sender"], expected, "{input}");
    }
}

#[db_test]
async fn an_identity_that_is_not_valid_is_refused_and_changes_nothing(t: &TestApp) {
    let (_, [_, key]) = t.main_and_sub_keys().await;
    let id = t.sender(&key, json!({ "telegram": "@acme_bot" })).await;
    let before = t.everything().await;

    for (part, wrong, code) in [
        ("name", "", "NAME_INVALID"),
        ("name", &"x".repeat(201), "NAME_INVALID"),
        ("name", "a\nb", "NAME_INVALID"),
        ("email", "", "EMAIL_INVALID"),
        ("email", "Ada <ada@example.com>", "EMAIL_INVALID"),
        ("email", "+12025550100", "EMAIL_INVALID"),
        ("emailName", "A", "EMAIL_NAME_INVALID"),
        ("emailName", "", "EMAIL_NAME_INVALID"),
        ("emailName", "a\r\nBcc: b", "EMAIL_NAME_INVALID"),
        ("emailName", "a\u{2029}b", "EMAIL_NAME_INVALID"),
        ("emailName", "a\u{2066}b", "EMAIL_NAME_INVALID"),
        ("emailName", "\u{200b}", "EMAIL_NAME_INVALID"),
        ("whatsapp", "2025550100", "WHATSAPP_INVALID"),
        ("whatsapp", "", "WHATSAPP_INVALID"),
        ("telegram", "@a_b", "TELEGRAM_INVALID"),
        ("telegram", &"a".repeat(33), "TELEGRAM_INVALID"),
        ("telegram", "1_bot_name", "TELEGRAM_INVALID"),
        ("telegram", "acme-bot", "TELEGRAM_INVALID"),
        ("telegram", "@@acme_bot", "TELEGRAM_INVALID"),
    ] {
        let expected = error(code, &["input", part]);
        let input = json!({ part: wrong });
        assert_eq!(errors_of(&t.create_sender(&key, input.clone()).await), expected, "{input}");
        assert_eq!(errors_of(&update(t, &key, &id, input.clone()).await), expected, "{input}");
    }
    for id in ["019a0000-0000-7000-8000-000000000000", "no id"] {
        let unknown = update(t, &key, id, json!({ "name": "A" })).await;
        assert_eq!(errors_of(&unknown), error("NOT_FOUND", &["id"]));
        assert_eq!(errors_of(&delete(t, &key, id).await), error("NOT_FOUND", &["id"]));
    }
    assert_eq!(t.everything().await, before);

    let longest = json!({ "name": "x".repeat(200), "telegram": "a".repeat(32) });
    assert_eq!(t.create_sender(&key, longest).await.refusals(), [""; 0]);
    assert_eq!(t.create_sender(&key, json!({ "telegram": "abcde" })).await.refusals(), [""; 0]);
}

/// The first sender of an account is the default. Another sender can be made the default instead. If the default is
/// deleted, the oldest sender becomes the default.
#[db_test]
async fn an_account_with_senders_has_exactly_one_default(t: &TestApp) {
    let (_, [other, key]) = t.main_and_sub_keys().await;
    t.sender(&other, json!({ "name": "Other" })).await;
    let node = |name: &str, is_default: bool| json!({ "name": name, "isDefault": is_default });

    let a = t.sender(&key, json!({ "name": "A" })).await;
    let b = t.sender(&key, json!({ "name": "B", "isDefault": false })).await;
    assert_eq!(listed(t, &key).await, json!([node("B", false), node("A", true)]));
    let c = t.sender(&key, json!({ "name": "C", "isDefault": true })).await;
    let all = [node("C", true), node("B", false), node("A", false)];
    assert_eq!(listed(t, &key).await, json!(all));
    let moved = update(t, &key, &b, json!({ "isDefault": true })).await;
    assert_eq!(moved.data()["updateSender"]["sender"]["isDefault"], true);
    let all = json!([node("C", false), node("B", true), node("A", false)]);
    assert_eq!(listed(t, &key).await, all);

    let before = t.everything().await;
    let refused = update(t, &key, &b, json!({ "isDefault": false, "name": "X" })).await;
    assert_eq!(errors_of(&refused), error("DEFAULT_NEEDED", &["input", "isDefault"]));
    assert_eq!(t.everything().await, before);
    assert_eq!(update(t, &key, &c, json!({ "isDefault": false })).await.refusals(), [""; 0]);

    let deleted = delete(t, &key, &b).await;
    assert_eq!(deleted.data()["deleteSender"], json!({ "senderId": b, "errors": [] }));
    assert_eq!(listed(t, &key).await, json!([node("C", false), node("A", true)]));
    delete(t, &key, &c).await;
    assert_eq!(listed(t, &key).await, json!([node("A", true)]));
    delete(t, &key, &a).await;
    assert_eq!(listed(t, &key).await, json!([]));
    t.sender(&key, json!({ "name": "D" })).await;
    assert_eq!(listed(t, &key).await, json!([node("D", true)]));
    assert_eq!(listed(t, &other).await, json!([node("Other", true)]));
}

/// On PostgreSQL, two processes make the changes.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_changes_leave_exactly_one_default_sender(t: &Arc<TestApp>) {
    let (_, [_, key]) = t.main_and_sub_keys().await;
    let processes = t.processes(Setup::default()).await;
    let defaults = "SELECT COUNT(*) FROM sender WHERE is_default";
    let at_once = |number: usize| (Arc::clone(&processes[number % processes.len()]), key.clone());

    let made = (0..8).map(|number| {
        let (t, key) = at_once(number);
        // The first sender becomes the default even if the input does not ask for it.
        let input = json!({ "name": number.to_string(), "isDefault": number % 4 == 3 });
        tokio::spawn(async move { t.sender(&key, input).await })
    });
    let mut ids = Vec::new();
    for made in join_all(made.collect::<Vec<_>>()).await {
        ids.push(made.expect("a sender is made"));
    }
    assert_eq!(processes[0].number(defaults).await, 1);

    let changed = ids.into_iter().enumerate().map(|(number, id)| {
        let (t, key) = at_once(number);
        tokio::spawn(async move {
            let moved = update(&t, &key, &id, json!({ "isDefault": true })).await;
            assert_eq!(moved.refusals(), [""; 0]);
            if number % 2 == 0 {
                assert_eq!(delete(&t, &key, &id).await.refusals(), [""; 0]);
            }
        })
    });
    for changed in join_all(changed.collect::<Vec<_>>()).await {
        changed.expect("a sender is changed");
    }
    assert_eq!(processes[0].number(defaults).await, 1);
    assert_eq!(processes[0].number("SELECT COUNT(*) FROM sender").await, 4);
}

#[db_test]
async fn an_account_has_at_most_100_senders(t: &TestApp) {
    let (_, [other, key]) = t.main_and_sub_keys().await;
    t.sender(&other, json!({})).await;
    let first = t.sender(&key, json!({})).await;
    for _ in 2..SENDERS_PER_ACCOUNT_MAX {
        t.sender(&key, json!({})).await;
    }

    let last = t.create_sender(&key, json!({})).await;
    let before = t.everything().await;
    let refused = t.create_sender(&key, json!({ "isDefault": true })).await;

    assert_eq!(last.refusals(), [""; 0]);
    assert_eq!(errors_of(&refused), error("TOO_MANY_SENDERS", &[]));
    assert_eq!(t.everything().await, before);
    let list = t.ask(&key, "{ senders(first: 0) { totalCount } }").await;
    assert_eq!(list.data()["senders"]["totalCount"], 100);
    assert_eq!(delete(t, &key, &first).await.refusals(), [""; 0]);
    assert_eq!(t.create_sender(&key, json!({})).await.refusals(), [""; 0]);
}

/// Waiting LIVE and TEST messages prevent the deletion of their sender until they are submitted or canceled.
#[db_test]
async fn a_sender_of_a_waiting_message_is_not_deleted(t: &TestApp) {
    let (team, [key, _]) = t.main_and_sub_keys().await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let id = t.sender(&key, json!({ "email": "news@example.com" })).await;
    let spare = t.sender(&key, json!({})).await;
    let later = json!({ "to": "ada@example.com", "text": "Hi", "sendAt": "2026-03-17T12:00:00Z" });
    let at_once = json!({ "to": "ada@example.com", "text": "Hi" });
    let in_use = error("SENDER_IN_USE", &["id"]);

    for (key_of_send, input) in [(&key, later), (&test_key, at_once)] {
        let sent = t.send(key_of_send, input).await;
        let message = text(&sent.data()["sendMessage"]["message"]["id"]);
        let before = t.everything().await;
        assert_eq!(errors_of(&delete(t, &key, &id).await), in_use);
        assert_eq!(t.everything().await, before);
        let cancel = "mutation($id: ID!) { cancelMessage(id: $id) { errors { code } } }";
        let canceled = t.ask_with(key_of_send, cancel, json!({ "id": message })).await;
        assert_eq!(canceled.refusals(), [""; 0]);
    }
    assert_eq!(
        t.send(&key, json!({ "to": "ada@example.com", "text": "Ho" })).await.refusals(),
        [""; 0]
    );
    assert_eq!(errors_of(&delete(t, &key, &id).await), in_use);
    assert_eq!(delete(t, &key, &spare).await.refusals(), [""; 0]);

    t.deliver().await;
    assert_eq!(delete(t, &key, &id).await.refusals(), [""; 0]);
}

/// The cost of a deletion does not depend on the number of the account's messages.
#[db_test]
async fn a_deletion_reads_only_the_index_of_waiting_messages(t: &TestApp) {
    let (team, [key, _]) = t.main_and_sub_keys().await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let id = t.sender(&key, json!({ "email": "news@example.com" })).await;
    let other = t.sender(&key, json!({ "email": "other@example.com" })).await;
    let later = json!({ "to": "ada@example.com", "text": "Hi", "sendAt": "2026-04-10T12:00:00Z",
                        "senderId": other });
    assert_eq!(t.send(&test_key, later).await.refusals(), [""; 0]);
    let backend = t.app.db.backend();
    let (new_id, analyze) = match backend {
        DbBackend::Postgres => ("gen_random_uuid()", "ANALYZE message"),
        _ => ("randomblob(16)", "ANALYZE"),
    };
    let columns = "team_id, account_id, api_key_id, environment, channel, recipient, text, \
                   segments, cost_micros, input_hash, sender_id, sent_from, created_at, updated_at";
    // Most of these messages were delivered. A tenth of them are waiting, with the other sender.
    let many = format!(
        "INSERT INTO message (id, status, {columns}) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) \
         SELECT {new_id}, CASE WHEN i % 10 = 0 THEN 'SCHEDULED' ELSE 'DELIVERED' END, {columns} \
         FROM message, n"
    );
    t.execute(&many).await;
    t.count_test_messages().await;
    t.execute(analyze).await;

    let sender = entity::sender::Entity::find_by_id(id.parse::<uuid::Uuid>().expect("an id"));
    let sender = sender.one(&t.app.db.read).await.expect("the query runs").expect("the sender");
    let select = waiting(&sender).build(backend);
    let explain = if backend == DbBackend::Postgres { "EXPLAIN" } else { "EXPLAIN QUERY PLAN" };
    let explain = Statement { sql: format!("{explain} {}", select.sql), ..select };
    let rows = t.app.db.read.query_all_raw(explain).await.expect("the plan");
    let at = if backend == DbBackend::Postgres { 0 } else { 3 };
    let plan: Vec<String> =
        rows.iter().map(|row| row.try_get_by_index(at).expect("a line")).collect();
    let plan = plan.join("\n");

    assert!(plan.contains("message_of_sender_unclaimed"), "{plan}");
    assert_eq!(delete(t, &key, &id).await.refusals(), [""; 0]);
    assert_eq!(errors_of(&delete(t, &key, &other).await), error("SENDER_IN_USE", &["id"]));
}
