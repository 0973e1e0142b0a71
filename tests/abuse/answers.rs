//! Answers that are many times as large as what was stored, by short requests: for clients that read them, and for
//! clients that do not.

use std::{future::pending, sync::Arc};

use db_test::db_test;
use serde_json::{Value, json};

use crate::{
    Database::{self},
    attack::Attack,
    requests::post,
    scale,
    stage::{Stage, SubAccount},
    wire::Wire,
};

const CONNECTIONS: usize = 8;
/// Connections whose clients read nothing.
const UNREAD: usize = 64;
/// Such an answer comes, or is refused for its size.
const EXPECTED: &[&str] = &["200", "QUERY_TOO_LARGE"];

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_answers(database: Database) {
    let mut stage = Stage::start(database).await;
    let account = stage.sub_account().await;
    // Each of these takes six bytes in JSON, or two.
    send(&stage, &account, 25, json!({ "text": "\u{1}".repeat(40_000) })).await;
    let page = "messages(first:25)";
    let control = post(&account.test, &fields(page, "text", 30), &json!({}));
    try_both(&mut stage, "texts of control characters", &control).await;

    let account = stage.sub_account().await;
    send(&stage, &account, 25, json!({ "text": "\"\\".repeat(40_000) })).await;
    let quotes = post(&account.test, &fields(page, "text", 30), &json!({}));

    let account = stage.sub_account().await;
    for at in 0..100 {
        tagged_contact(&stage, &account, at).await;
    }
    let tags = post(&account.live, &fields("contacts(first:100)", "tags", 30), &json!({}));

    let account = stage.sub_account().await;
    // As many small values as there may be.
    let metadata = json!({ "a": vec![0; 990] });
    send(&stage, &account, 100, json!({ "text": "Hi", "metadata": metadata })).await;
    let metadata = fields("messages(first:100)", "metadata", 30);
    let metadata = post(&account.test, &metadata, &json!({}));

    let others = [
        ("30 times the tags of 100 contacts", tags),
        ("30 times the metadata of 100 messages", metadata),
        ("texts of quotation marks", quotes),
    ];
    for (what, request) in others.into_iter().take(scale(1, 3)) {
        try_both(&mut stage, what, &request).await;
    }
    stage.finish().await;
}

/// With clients that read, and with clients that do not.
async fn try_both(stage: &mut Stage, what: &str, request: &Arc<[u8]>) {
    let name = format!("{what}, {CONNECTIONS} connections");
    stage
        .attack(&name, EXPECTED, async |attack| {
            attack.repeat(CONNECTIONS, &[Arc::clone(request)]);
            attack.lasts().await;
        })
        .await;
    let name = format!("{what}, {UNREAD} connections that are not read");
    stage
        .attack(&name, &["asked"], async |attack| {
            ask_and_do_not_read(attack, request);
            attack.lasts().await;
        })
        .await;
}

/// Asks on each connection, and leaves the answers where they are.
fn ask_and_do_not_read(attack: &mut Attack, request: &Arc<[u8]>) {
    for _ in 0..UNREAD {
        let (mut wire, tally) = (Wire::new(attack.target), Arc::clone(&attack.tally));
        let request = Arc::clone(request);
        attack.client(async move {
            if wire.write(&request).await.is_ok() {
                tally.count("asked");
            }
            pending::<()>().await;
        });
    }
}

/// A field so many times in each node of a page.
fn fields(page: &str, field: &str, times: usize) -> String {
    let fields: String = (0..times).map(|at| format!("f{at}:{field} ")).collect();
    format!("{{ {page} {{ nodes {{ {fields} }} }} }}")
}

/// Sends so many e-mails that are like this.
async fn send(stage: &Stage, account: &SubAccount, count: usize, like: Value) {
    let mut message = like;
    message["to"] = json!("ada@example.com");
    message["subject"] = json!("Hi");
    let query = "mutation($m:SendMessageInput!){ sendMessage(input:$m) { errors { code } } }";
    for _ in 0..count {
        let sent = stage.ask(&account.test, query, json!({ "m": message })).await;
        assert_eq!(sent["sendMessage"]["errors"], json!([]));
    }
}

/// Makes a contact with as many tags, and as long ones, as it may have.
async fn tagged_contact(stage: &Stage, account: &SubAccount, at: usize) {
    let tags: Vec<String> =
        (0..50).map(|tag| format!("{tag:02}{}", "\u{1f600}".repeat(62))).collect();
    let input = json!({ "addresses": [{ "address": format!("a{at}@example.com") }], "tags": tags });
    let create =
        "mutation($i: CreateContactInput!) { createContact(input: $i) { errors { code } } }";
    let made = stage.ask(&account.live, create, json!({ "i": input })).await;
    assert_eq!(made["createContact"]["errors"], json!([]));
}
