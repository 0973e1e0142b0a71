//! The sender of a message. A message uses the given sender or the default sender, with the sender's identity at the
//! time of the acceptance.

use std::time::Duration;

use db_test::db_test;
use serde_json::{Value, json};
use tokio::time::Instant;
use tollgate::{
    domain::{
        api_key::authentication,
        billing::{self, Draft, PricedMessage, Verdict},
        channel::{content::Content, recipient, schedule::Schedule, sender_cache::Origin},
        deadline::Deadline,
    },
    money::Micros,
};
use uuid::Uuid;

use crate::harness::{Answer, Database, Postgres, Sqlite, TestApp, UNKNOWN_IDS, text};

const SENT: &str =
    "{ message { id from sender { id name } } replayed errors { code message field } }";

/// Sends a message with `sendMessage`. On PostgreSQL, this call uses the fast path.
async fn send(t: &TestApp, key: &str, input: Value) -> Answer {
    let query =
        format!("mutation($input: SendMessageInput!) {{ sendMessage(input: $input) {SENT} }}");
    t.ask_with(key, &query, json!({ "input": input })).await
}

/// Sends messages with `sendMessages`. Three messages or more are sent as a batch.
async fn send_many(t: &TestApp, key: &str, input: Vec<Value>) -> Value {
    let query =
        format!("mutation($input: [SendMessageInput!]!) {{ sendMessages(input: $input) {SENT} }}");
    t.ask_with(key, &query, json!({ "input": input })).await.data()["sendMessages"].clone()
}

/// Returns the fields of a message that show its sender.
async fn origin(t: &TestApp, key: &str, id: &str) -> Value {
    let query = "query($id: ID!) { message(id: $id) { from sender { name } } }";
    t.ask_with(key, query, json!({ "id": id })).await.data()["message"].clone()
}

async fn delete(t: &TestApp, key: &str, id: &str) {
    let query = "mutation($id: ID!) { deleteSender(id: $id) { errors { code } } }";
    assert_eq!(t.ask_with(key, query, json!({ "id": id })).await.refusals(), [""; 0]);
}

async fn quoted(t: &TestApp, key: &str, input: Value) -> Value {
    let query = "query($input: SendMessageInput!) { messageQuote(input: $input) \
                 { wouldBeAccepted errors { code message field } } }";
    t.ask_with(key, query, json!({ "input": input })).await.data()["messageQuote"].clone()
}

/// The test covers the fast path and a batch, in both environments. The carrier receives the sender's identity.
#[db_test]
async fn a_message_uses_the_given_or_the_default_sender_of_its_account(t: &TestApp) {
    let team = t.team(1000).await;
    let test_key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let sub = t.sub_account(&team, json!({})).await;
    t.sender(&sub.key, json!({ "email": "sub@example.com" })).await;
    let news = json!({ "name": "News", "email": "news@example.com", "emailName": "Acme, Inc.",
                       "whatsapp": "+12025550100" });
    let news = t.sender(&team.key, news).await;
    let bot = t.sender(&team.key, json!({ "name": "Bot", "telegram": "acme_bot" })).await;
    let email = json!({ "to": "ada@example.com", "text": "Hi" });
    let whatsapp = json!({ "to": "+12025550123", "channel": "WHATSAPP", "text": "Hi",
                           "senderId": news });
    let telegram = json!({ "to": "42", "channel": "TELEGRAM", "text": "Hi", "senderId": bot });
    let sms = json!({ "to": "+12025550123", "text": "Hi" });
    let expected = |from: Value, sender: Value| json!({ "from": from, "sender": sender });
    let by_news = json!({ "id": news, "name": "News" });
    let all = [
        (email, expected(json!("\"Acme, Inc.\" <news@example.com>"), by_news.clone())),
        (whatsapp, expected(json!("+12025550100"), by_news)),
        (telegram, expected(json!("@acme_bot"), json!({ "id": bot, "name": "Bot" }))),
        // The default sender does not support the channel, and no sender was given.
        (sms, expected(json!(null), json!(null))),
    ];

    for key in [&team.key, &test_key] {
        let sent = send_many(t, key, all.iter().map(|(input, _)| input.clone()).collect()).await;
        for (at, (input, expected)) in all.iter().enumerate() {
            let alone = send(t, key, input.clone()).await;
            for payload in [&sent[at], &alone.data()["sendMessage"]] {
                assert_eq!(payload["errors"], json!([]), "{input}");
                let message = &payload["message"];
                assert_eq!(message["from"], expected["from"], "{input}");
                assert_eq!(message["sender"], expected["sender"], "{input}");
                let kept = origin(t, key, &text(&message["id"])).await;
                assert_eq!(kept["from"], expected["from"], "{input}");
            }
        }
    }
    assert_eq!(
        send(t, &sub.key, all[0].0.clone()).await.data()["sendMessage"]["message"]["from"],
        "sub@example.com"
    );

    t.deliver().await;
    let mut submitted_from = t.carrier.sent_from.lock().expect("the record").clone();
    submitted_from.sort();
    let some = |text: &str| Some(text.to_owned());
    let twice = |from: Option<String>| [from.clone(), from];
    let mut live = [
        twice(None),
        twice(some("\"Acme, Inc.\" <news@example.com>")),
        twice(some("+12025550100")),
        twice(some("@acme_bot")),
    ]
    .concat();
    live.push(some("sub@example.com"));
    assert_eq!(submitted_from, live);
}

/// If the sender is changed or deleted later, the message does not change.
#[db_test]
async fn a_message_keeps_the_identity_with_which_it_was_accepted(t: &TestApp) {
    let team = t.team(1000).await;
    let id = t.sender(&team.key, json!({ "name": "A", "email": "a@example.com" })).await;
    let input = json!({ "to": "ada@example.com", "text": "Hi" });
    let first = send(t, &team.key, input.clone()).await;
    let first = text(&first.data()["sendMessage"]["message"]["id"]);

    let query = "mutation($id: ID!, $input: UpdateSenderInput!) \
                 { updateSender(id: $id, input: $input) { errors { code } } }";
    let change = json!({ "name": "B", "email": "b@example.com" });
    let changed = t.ask_with(&team.key, query, json!({ "id": id, "input": change })).await;
    assert_eq!(changed.refusals(), [""; 0]);
    // The changed sender is used for the very next message.
    let second = send(t, &team.key, input.clone()).await;
    let second = &second.data()["sendMessage"]["message"];
    assert_eq!(
        (&second["from"], &second["sender"]["name"]),
        (&json!("b@example.com"), &json!("B"))
    );
    let kept = json!({ "from": "a@example.com", "sender": { "name": "B" } });
    assert_eq!(origin(t, &team.key, &first).await, kept);

    t.deliver().await;
    delete(t, &team.key, &id).await;
    let gone = json!({ "from": "a@example.com", "sender": null });
    assert_eq!(origin(t, &team.key, &first).await, gone);
    let without = send(t, &team.key, input).await;
    assert_eq!(without.data()["sendMessage"]["message"]["from"], json!(null));
}

/// The test covers the fast path, a batch and a quote. Nothing is charged.
#[db_test]
async fn a_sender_that_is_unknown_or_does_not_support_the_channel_is_refused(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let foreign = t.sender(&team.key, json!({ "email": "a@example.com" })).await;
    let own = t.sender(&sub.key, json!({ "whatsapp": "+12025550100" })).await;
    let before = t.everything().await;
    let error = |code: &str, message: &str| {
        let field = ["input", "senderId"];
        json!([{ "code": code, "message": message, "field": field }])
    };
    let unknown = error("SENDER_NOT_FOUND", "There is no such sender.");
    let cannot = error(
        "SENDER_UNAVAILABLE",
        "The sender cannot currently send on this channel. Its `channels` field lists the channels \
         that it can send on.",
    );

    for key in [&sub.key, &test_key] {
        for (id, expected) in [
            (UNKNOWN_IDS[0], &unknown),
            (UNKNOWN_IDS[1], &unknown),
            ("", &unknown),
            (&foreign, &unknown),
            (&own, &cannot),
        ] {
            let input = json!({ "to": "ada@example.com", "text": "Hi", "senderId": id });
            let refused = json!({ "message": null, "replayed": false, "errors": expected });
            assert_eq!(send(t, key, input.clone()).await.data()["sendMessage"], refused, "{id:?}");
            let many = send_many(t, key, vec![input.clone(); 3]).await;
            assert_eq!(many, json!([refused, refused, refused]));
            let expected = json!({ "wouldBeAccepted": false, "errors": expected });
            assert_eq!(quoted(t, key, input).await, expected);
        }
    }
    assert_eq!(t.everything().await, before);
    // A refused message does not affect the others.
    let input = |id: &str| {
        json!({ "to": "+12025550123", "channel": "WHATSAPP", "text": "Hi",
                                   "senderId": id })
    };
    let many = send_many(t, &sub.key, vec![input(&foreign), input(&own), input(&own)]).await;
    let from: Vec<&Value> =
        many.as_array().expect("payloads").iter().map(|sent| &sent["message"]["from"]).collect();
    assert_eq!(from, [&json!(null), &json!("+12025550100"), &json!("+12025550100")]);
}

/// Input is also checked before the sender. The opt-out and the price are checked after the sender.
#[db_test]
async fn a_sender_is_checked_after_repeats_and_before_key_status_and_money(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let id = t.sender(&sub.key, json!({ "email": "a@example.com" })).await;
    let first =
        json!({ "to": "ada@example.com", "text": "Hi", "idempotencyKey": "a", "senderId": id });
    let sent = send(t, &sub.key, first.clone()).await;
    assert_eq!(sent.refusals(), [""; 0]);
    t.deliver().await;
    delete(t, &sub.key, &id).await;

    let mut shown = sent.data()["sendMessage"]["message"].clone();
    shown["sender"] = json!(null);
    let replay = json!({ "message": shown, "replayed": true, "errors": [] });
    assert_eq!(send(t, &sub.key, first.clone()).await.data()["sendMessage"], replay);
    let capitals = json!({ "to": "ada@example.com", "text": "Hi", "idempotencyKey": "a",
                           "senderId": id.to_uppercase() });
    assert_eq!(send(t, &sub.key, capitals).await.data()["sendMessage"], replay);
    assert_eq!(quoted(t, &sub.key, first).await["wouldBeAccepted"], true);

    let with = |name: &str, value: Value| {
        let mut input = json!({ "to": "ada@example.com", "text": "Hi", "senderId": id });
        input[name] = value;
        input
    };
    for (input, code) in [
        (with("text", json!("")), "INVALID_CONTENT"),
        (with("validUntil", json!("2020-01-01T00:00:00Z")), "VALID_UNTIL_INVALID"),
        // A repeat with another sender, or without one, is a conflict, because the sender is a part of the input.
        (
            json!({ "to": "ada@example.com", "text": "Hi", "idempotencyKey": "a" }),
            "IDEMPOTENCY_CONFLICT",
        ),
        (
            json!({ "to": "ada@example.com", "text": "Hi", "idempotencyKey": "a",
                    "senderId": UNKNOWN_IDS[0] }),
            "IDEMPOTENCY_CONFLICT",
        ),
        (with("to", json!("ada@example.com")), "SENDER_NOT_FOUND"),
    ] {
        assert_eq!(send(t, &sub.key, input.clone()).await.refusals(), [code], "{input}");
        assert_eq!(quoted(t, &sub.key, input).await["errors"][0]["code"], code);
    }
    t.opt_out(&sub.key, "ada@example.com").await;
    for sql in [
        "UPDATE account SET credit_limit_micros = 0 WHERE is_sub_account",
        "DELETE FROM price",
        "UPDATE account SET status = 'SUSPENDED' WHERE is_sub_account",
    ] {
        t.execute(sql).await;
        let input = with("text", json!("Ho"));
        assert_eq!(
            send(t, &sub.key, input.clone()).await.refusals(),
            ["SENDER_NOT_FOUND"],
            "{sql}"
        );
        assert_eq!(quoted(t, &sub.key, input).await["errors"][0]["code"], "SENDER_NOT_FOUND");
    }
}

/// The repeat may be made when another sender is the default.
#[db_test]
async fn a_repeat_with_the_default_sender_returns_the_first_message(t: &TestApp) {
    let team = t.team(1000).await;
    t.sender(&team.key, json!({ "name": "A", "email": "a@example.com" })).await;
    let input = json!({ "to": "ada@example.com", "text": "Hi", "idempotencyKey": "a" });
    let first = send(t, &team.key, input.clone()).await;
    t.sender(&team.key, json!({ "email": "b@example.com", "isDefault": true })).await;

    let again = send(t, &team.key, input).await;

    let message = &first.data()["sendMessage"]["message"];
    assert_eq!(message["from"], "a@example.com");
    let expected = json!({ "message": message, "replayed": true, "errors": [] });
    assert_eq!(again.data()["sendMessage"], expected);
}

/// The call also finds a sender that another process has just created.
#[db_test]
async fn a_call_reads_its_senders_with_one_statement(t: &TestApp, database: Database) {
    let team = t.team(1000).await;
    // Sending this message makes the process cache the fact that the account has no sender.
    send(t, &team.key, json!({ "to": "ada@example.com", "text": "Hi" })).await;
    let sql_id = match database {
        Sqlite => "randomblob(16)",
        Postgres => "gen_random_uuid()",
    };
    let columns = "team_id, account_id, name, is_default, email, created_at, updated_at";
    let insert = format!(
        "INSERT INTO sender (id, {columns}) SELECT {sql_id}, team_id, id, 'Theirs', TRUE, \
         'theirs@example.com', created_at, updated_at FROM account"
    );
    sea_orm::ConnectionTrait::execute_unprepared(&t.app.db.write, &insert).await.expect("it runs");
    let id = t.ask(&team.key, "{ senders { nodes { id } } }").await;
    let id = text(&id.data()["senders"]["nodes"][0]["id"]);
    let input = json!({ "to": "ada@example.com", "text": "Hi", "senderId": id });

    let before = t.statements();
    let sent = send_many(t, &team.key, vec![input; 100]).await;
    let statements = t.statements() - before;

    assert!(sent.as_array().expect("payloads").iter().all(|sent| {
        sent["message"]["from"] == "theirs@example.com" && sent["message"]["sender"]["id"] == id
    }));
    assert!(statements < 25, "{statements} statements for a hundred messages");
}

/// The message is sent with the identity that was prepared for it. The stored message shows no sender.
#[db_test]
async fn a_sender_deleted_while_a_message_is_accepted_does_not_affect_it(t: &TestApp) {
    let team = t.team(1000).await;
    let caller = authentication::authenticate(&t.app, &team.key).await.expect("the key is read");
    let caller = caller.expect("the key is valid").account().expect("an account's key");
    let prepared = |number: u8| PricedMessage {
        draft: Ok(Draft {
            recipient: recipient::parse("ada@example.com", None).expect("a recipient"),
            contact_id: None,
            content: Content { text: "Hi".to_owned(), ..Content::default() },
            origin: Some(Origin {
                sender_id: Uuid::from_u128(7),
                sent_from: "gone@example.com".to_owned(),
            }),
            segments: 1,
            cost: Ok(Micros::from_cents(1)),
            simulated: None,
        }),
        metadata: None,
        schedule: Schedule::default(),
        idempotency_key: None,
        input_hash: vec![number; 32],
    };
    let deadline = Deadline::until(Instant::now() + Duration::from_secs(10));

    let many = (0..4).map(prepared).collect();
    let mut verdicts = billing::accept(&t.app, &caller, many, &deadline).await.expect("verdicts");
    let alone = billing::accept_one(&t.app, &caller, prepared(4), &deadline).await;
    verdicts.push(alone.expect("a verdict"));

    for verdict in verdicts {
        let Verdict::Accepted(message) = verdict else { panic!("{verdict:?}") };
        let shown = origin(t, &team.key, &message.id.to_string()).await;
        assert_eq!(shown, json!({ "from": "gone@example.com", "sender": null }));
    }
    let balance = t.ask(&team.key, "{ balance { balance } }").await;
    assert_eq!(balance.data()["balance"]["balance"], 995);
}

#[db_test]
async fn changes_of_one_teams_senders_and_keys_do_not_evict_those_of_another(t: &TestApp) {
    let (hot, other) = (t.team(1_000).await, t.team(1_000).await);
    let sub = t.sub_account(&hot, json!({})).await;
    let mut key_id = sub.key_id;
    let of_hot = t.sender(&hot.key, json!({})).await;
    let of_other = t.sender(&other.key, json!({})).await;
    let update = "mutation($id: ID!) { updateSender(id: $id, input: { name: \"New\" }) { errors { code } } }";
    let rotate = "mutation($id: ID!) { rotateApiKey(id: $id) { apiKey { id } errors { code } } }";
    let reads = async || {
        let before = t.app.db.read.statements();
        assert!(t.sends(&other.key).await);
        t.app.db.read.statements() - before
    };

    // Cached values are valid for a second. A run that takes longer proves nothing and is repeated.
    loop {
        let begun = Instant::now();
        t.forget();
        reads().await;
        let known = reads().await;
        let updated = t.ask_with(&hot.key, update, json!({ "id": of_hot })).await;
        let rotated = t.ask_with(&hot.key, rotate, json!({ "id": key_id })).await;
        assert_eq!((updated.refusals(), rotated.refusals()), (vec![], vec![]));
        key_id = text(&rotated.data()["rotateApiKey"]["apiKey"]["id"]);
        let after = reads().await;
        let own = t.ask_with(&other.key, update, json!({ "id": of_other })).await;
        assert_eq!(own.refusals(), [""; 0]);
        let after_own = reads().await;
        if begun.elapsed() < Duration::from_secs(1) {
            assert_eq!((after, after_own), (known, known + 1));
            break;
        }
    }
}
