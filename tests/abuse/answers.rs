//! Short requests whose responses are much larger than the stored data. Some clients read the responses, and others do
//! not.

use std::{future::pending, sync::Arc};

use db_test::db_test;
use serde_json::{Value, json};

use crate::{
    Database::{self},
    attack::Attack,
    fixture::{Fixture, SubAccount},
    raw_client::RawClient,
    requests::post,
    scale,
};

const CONNECTIONS: usize = 8;
/// Number of connections on which the client does not read the response.
const UNREAD: usize = 64;
/// The expected results: the request succeeds, or is refused because of the size of the response.
const EXPECTED: &[&str] = &["200", "QUERY_TOO_LARGE"];

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn large_responses(database: Database) {
    let mut fixture = Fixture::start(database).await;
    let account = fixture.sub_account().await;
    // A control character takes six bytes in JSON, and a quotation mark takes two.
    send(&fixture, &account, 25, json!({ "text": "\u{1}".repeat(40_000) })).await;
    let page = "messages(first:25)";
    let control = post(&account.test, &fields(page, "text", 30), &json!({}));
    try_both(&mut fixture, "texts of control characters", &control).await;

    let account = fixture.sub_account().await;
    send(&fixture, &account, 25, json!({ "text": "\"\\".repeat(40_000) })).await;
    let quotes = post(&account.test, &fields(page, "text", 30), &json!({}));

    let account = fixture.sub_account().await;
    for at in 0..100 {
        tagged_contact(&fixture, &account, at).await;
    }
    let tags = post(&account.live, &fields("contacts(first:100)", "tags", 30), &json!({}));

    let account = fixture.sub_account().await;
    // The metadata has nearly the maximum number of values, all of them small.
    let metadata = json!({ "a": vec![0; 990] });
    send(&fixture, &account, 100, json!({ "text": "Hi", "metadata": metadata })).await;
    let metadata = fields("messages(first:100)", "metadata", 30);
    let metadata = post(&account.test, &metadata, &json!({}));

    let others = [
        ("30 times the tags of 100 contacts", tags),
        ("30 times the metadata of 100 messages", metadata),
        ("texts of quotation marks", quotes),
    ];
    for (what, request) in others.into_iter().take(scale(1, 3)) {
        try_both(&mut fixture, what, &request).await;
    }
    fixture.finish().await;
}

/// Runs an attack with clients that read the responses, and an attack with clients that do not.
async fn try_both(fixture: &mut Fixture, what: &str, request: &Arc<[u8]>) {
    let name = format!("{what}, {CONNECTIONS} connections");
    fixture
        .attack(&name, EXPECTED, async |attack| {
            attack.repeat(CONNECTIONS, &[Arc::clone(request)]);
            attack.run().await;
        })
        .await;
    let name = format!("{what}, {UNREAD} connections that are not read");
    fixture
        .attack(&name, &["asked"], async |attack| {
            request_and_do_not_read(attack, request);
            attack.run().await;
        })
        .await;
}

/// Sends a request on each connection, and does not read the responses.
fn request_and_do_not_read(attack: &mut Attack, request: &Arc<[u8]>) {
    for _ in 0..UNREAD {
        let (mut client, tally) = (RawClient::new(attack.target), Arc::clone(&attack.tally));
        let request = Arc::clone(request);
        attack.client(async move {
            if client.write(&request).await.is_ok() {
                tally.count("asked");
            }
            pending::<()>().await;
        });
    }
}

/// Returns a query that selects the same field `times` times in each node of a page.
fn fields(page: &str, field: &str, times: usize) -> String {
    let fields: String = (0..times).map(|at| format!("f{at}:{field} ")).collect();
    format!("{{ {page} {{ nodes {{ {fields} }} }} }}")
}

/// Sends `count` e-mails with this content.
async fn send(fixture: &Fixture, account: &SubAccount, count: usize, content: Value) {
    let mut message = content;
    message["to"] = json!("ada@example.com");
    message["subject"] = json!("Hi");
    let query = "mutation($m:SendMessageInput!){ sendMessage(input:$m) { errors { code } } }";
    for _ in 0..count {
        let sent = fixture.ask(&account.test, query, json!({ "m": message })).await;
        assert_eq!(sent["sendMessage"]["errors"], json!([]));
    }
}

/// Creates a contact with the maximum number of tags of maximum length.
async fn tagged_contact(fixture: &Fixture, account: &SubAccount, at: usize) {
    let tags: Vec<String> =
        (0..50).map(|tag| format!("{tag:02}{}", "\u{1f600}".repeat(62))).collect();
    let input = json!({ "addresses": [{ "address": format!("a{at}@example.com") }], "tags": tags });
    let create =
        "mutation($i: CreateContactInput!) { createContact(input: $i) { errors { code } } }";
    let made = fixture.ask(&account.live, create, json!({ "i": input })).await;
    assert_eq!(made["createContact"]["errors"], json!([]));
}
