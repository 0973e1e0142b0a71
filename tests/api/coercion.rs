//! Variables of a document that is known already are judged as those of one that is new.

use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Database, Postgres, Sqlite, TestApp};

const QUOTE: &str = "query($input: SendMessageInput!) { messageQuote(input: $input) { cost } }";
const MESSAGES: &str = "query($first: Int, $after: String, $filter: MessageFilter) \
     { messages(first: $first, after: $after, filter: $filter) { totalCount } }";
const STATUSES: &str = "query($of: [MessageStatus!], $to: String) \
     { messages(filter: { status: $of, to: $to }) { totalCount } }";
const SUB: &str = "query($account: AccountRef!) { subAccount(by: $account) { name } }";
const KEYS: &str = "query($is: Boolean!, $id: ID!) \
     { account @include(if: $is) { name } contact(id: $id) { id } }";
const DEFAULTS: &str = "query($first: Int = 5, $to: String = \"+12025550123\") \
     { messages(first: $first) { totalCount } messageQuote(input: { to: $to, text: \"Hi\" }) { cost } }";

/// Each with variables that are good, and others.
fn cases() -> Vec<(&'static str, Value, Vec<Value>)> {
    let good = json!({ "to": "+12025550123", "text": "Hello" });
    let with = |name: &str, value: Value| {
        let mut input = good.clone();
        input[name] = value;
        json!({ "input": input })
    };
    vec![
        (
            QUOTE,
            json!({ "input": good }),
            vec![
                json!({}),
                json!({ "input": null }),
                json!({ "input": "text" }),
                json!({ "input": [good] }),
                json!({ "input": [] }),
                with("to", json!(5)),
                with("to", json!(null)),
                with("text", json!(["Hello"])),
                with("text", json!({ "text": "Hello" })),
                with("channel", json!("SMS")),
                with("channel", json!("PIGEON")),
                with("channel", json!(true)),
                with("metadata", json!({ "order": { "id": 5 } })),
                with("metadata", json!("none")),
                with("sendAt", json!("tomorrow")),
                with("contactId", json!(7)),
                with("nothing", json!("of the kind")),
            ],
        ),
        (
            MESSAGES,
            json!({ "first": 1 }),
            vec![
                json!({}),
                json!({ "first": null, "after": null, "filter": null }),
                json!({ "first": "1" }),
                json!({ "first": 1.5 }),
                json!({ "first": 2_147_483_648_i64 }),
                json!({ "first": -1 }),
                json!({ "first": true }),
                json!({ "after": 5 }),
                json!({ "after": "nowhere" }),
                json!({ "filter": {} }),
                json!({ "filter": { "status": ["QUEUED"] } }),
                json!({ "filter": { "status": "QUEUED" } }),
                json!({ "filter": { "status": [null] } }),
                json!({ "filter": { "status": ["LOST"] } }),
                json!({ "filter": { "status": [["QUEUED"]] } }),
                json!({ "filter": [{}] }),
            ],
        ),
        (
            STATUSES,
            json!({ "of": ["SENT"], "to": "a" }),
            vec![
                json!({}),
                json!({ "of": "SENT" }),
                json!({ "of": [null] }),
                json!({ "of": ["LOST"], "to": 5 }),
                json!({ "to": ["a"] }),
            ],
        ),
        (
            SUB,
            json!({ "account": { "externalId": "client" } }),
            vec![
                json!({}),
                json!({ "account": {} }),
                json!({ "account": { "id": "1", "externalId": "client" } }),
                json!({ "account": { "id": null } }),
                json!({ "account": { "externalId": 5 } }),
                json!({ "account": { "name": "client" } }),
            ],
        ),
        (
            KEYS,
            json!({ "is": true, "id": "1" }),
            vec![
                json!({ "is": false, "id": "1" }),
                json!({ "is": "true", "id": "1" }),
                json!({ "is": 1, "id": 1 }),
                json!({ "is": null, "id": "1" }),
                json!({ "is": true, "id": 1 }),
                json!({ "is": true, "id": 1.5 }),
                json!({ "is": true, "id": ["1"] }),
                json!({ "is": true }),
            ],
        ),
        (
            DEFAULTS,
            json!({}),
            vec![
                json!({ "first": null }),
                json!({ "to": null }),
                json!({ "to": 5 }),
                json!({ "first": "five", "to": "+12025550124" }),
            ],
        ),
    ]
}

#[rstest]
#[tokio::test]
async fn a_known_document_refuses_what_a_new_one_does(
    #[values(Sqlite, Postgres)] database: Database,
) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(1000).await;
    t.sub_account(&team, json!({ "externalId": "client" })).await;
    let mut others = 0;
    for (query, good, bad) in cases() {
        let known = t.ask_with(&team.key, query, good.clone()).await;
        known.data();
        for variables in bad.into_iter().chain([good]) {
            others += 1;
            let new = format!("{query} # {others}");
            let new = t.ask_with(&team.key, &new, variables.clone()).await;
            let known = t.ask_with(&team.key, query, variables.clone()).await;
            assert_eq!((known.status, known.body), (new.status, new.body), "{query} {variables}");
        }
    }
    t.close().await;
}

/// Of two messages in one document none is sent if one of them does not fit, known or not.
#[rstest]
#[tokio::test]
async fn a_known_mutation_does_nothing_where_one_variable_does_not_fit(
    #[values(Sqlite, Postgres)] database: Database,
) {
    let Some(t) = TestApp::start(database).await else { return };
    let team = t.team(1000).await;
    let query = "mutation($a: SendMessageInput!, $b: SendMessageInput!) \
                 { a: sendMessage(input: $a) { errors { code } } b: sendMessage(input: $b) { errors { code } } }";
    let good = json!({ "to": "+12025550123", "text": "Hello" });
    t.ask_with(&team.key, query, json!({ "a": good, "b": good })).await.data();
    let before = t.everything().await;

    for bad in [json!({ "to": 5, "text": "Hello" }), json!({ "at": "+12025550123" }), json!(null)] {
        let refused = t.ask_with(&team.key, query, json!({ "a": good, "b": bad })).await;
        assert_eq!(refused.codes().len(), 1, "{}", refused.body);
        assert_eq!(t.everything().await, before, "{bad}");
    }
    t.close().await;
}
