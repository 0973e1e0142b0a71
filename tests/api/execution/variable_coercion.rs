//! Variables are checked in the same way for cached and for new documents.

use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{TestApp, post};

const QUOTE: &str = "query($input: SendMessageInput!) { messageQuote(input: $input) { cost } }";
const MESSAGES: &str = "query($first: Int, $after: String, $filter: MessageFilter) \
     { messages(first: $first, after: $after, filter: $filter) { totalCount } }";
const STATUSES: &str = "query($of: [MessageStatus!], $to: String) \
     { messages(filter: { status: $of, to: $to }) { totalCount } }";
const SUB: &str = "query($account: AccountRef!) { subAccount(by: $account) { name } }";
const KEYS: &str = "query($is: Boolean!, $id: ID!) \
     { account @include(if: $is) { name } contact(id: $id) { id } }";
const FRAGMENT: &str = "query($id: ID!, $first: Int) { ...F } \
     fragment F on Query { contact(id: $id) { id } messages(first: $first) { totalCount } }";
const CREATE: &str = "mutation($input: CreateSubAccountInput!) \
     { createSubAccount(input: $input) { errors { code } } }";
const DEFAULTS: &str = "query($first: Int = 5, $to: String = \"+12025550123\") \
     { messages(first: $first) { totalCount } messageQuote(input: { to: $to, text: \"Hi\" }) { cost } }";

type Cases = Vec<(&'static str, Value, Vec<Value>)>;

/// Documents with one input object. Each document has one valid value for the variables and several values that are not
/// valid.
fn cases_of_inputs() -> Cases {
    let good = json!({ "to": "+12025550123", "text": "Hello" });
    let with = |name: &str, value: Value| {
        let mut input = good.clone();
        input[name] = value;
        json!({ "input": input })
    };
    vec![(
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
            with("sendAt", json!({})),
            with("contactId", json!(7)),
            with("nothing", json!("of the kind")),
        ],
    )]
}

/// Like [`cases_of_inputs`], with other kinds of values.
fn cases_of_values() -> Cases {
    vec![
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
                json!({ "first": {} }),
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
                json!({ "of": [{}] }),
                json!({ "of": ["LOST"], "to": 5 }),
                json!({ "to": ["a"] }),
            ],
        ),
        (
            CREATE,
            json!({ "input": { "name": "" } }),
            vec![
                json!({ "input": { "name": "", "creditLimit": {} } }),
                json!({ "input": { "name": "", "creditLimit": "5" } }),
                json!({ "input": { "name": {} } }),
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
                json!({ "is": true, "id": {} }),
                json!({ "is": {}, "id": "1" }),
                json!({ "is": true }),
            ],
        ),
        (
            FRAGMENT,
            json!({ "id": "1", "first": 1 }),
            vec![
                json!({ "id": "1" }),
                json!({ "first": 1 }),
                json!({ "id": null }),
                json!({ "id": 1, "first": 1 }),
                json!({ "id": "1", "first": "1" }),
                json!({ "id": ["1"], "first": 0 }),
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

#[db_test]
async fn a_cached_document_refuses_the_same_variables_as_a_new_one(t: &TestApp) {
    let team = t.team(1000).await;
    t.sub_account(&team, json!({ "externalId": "client" })).await;
    let mut others = 0;
    for (query, good, bad) in [cases_of_inputs(), cases_of_values()].concat() {
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
}

/// A variable with the same name in another operation has no effect.
#[db_test]
async fn operations_of_one_document_have_their_own_variables(t: &TestApp) {
    let team = t.team(1000).await;
    let fragment = "fragment F on Query { messages(first: $x) { totalCount } }";
    let of = async |operations: &str, comment: &str, name: &str, variables: Value| {
        let query = format!("{operations} {fragment} # {comment}");
        let body = json!({ "query": query, "operationName": name, "variables": variables });
        let answer = t.request(post(&team.key, body.to_string())).await;
        (answer.status, answer.body)
    };
    for (number, (operations, given, expected)) in [
        (
            "query A($x: Int) { ...F } query B($x: ID!) { message(id: $x) { id } }",
            json!("0"),
            json!({ "message": null }),
        ),
        (
            "query A($x: Int) { ...F } query B { viewer { role } }",
            json!("a"),
            json!({ "viewer": { "role": "MAIN_ACCOUNT" } }),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let known = of(operations, "known", "A", json!({ "x": 1 })).await;
        assert_eq!(known.0, 200, "{}", known.1);
        let new = of(operations, &number.to_string(), "B", json!({ "x": given })).await;
        let known = of(operations, "known", "B", json!({ "x": given })).await;
        assert_eq!(known, new, "{operations}");
        assert_eq!((new.0.as_u16(), &new.1["data"]), (200, &expected));
    }
}

/// A hidden enum value cannot be passed in a variable of another type.
#[db_test]
async fn a_variable_of_another_type_is_refused_and_nothing_is_executed(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({ "externalId": "client" })).await;
    let before = t.everything().await;
    let hidden = json!({ "account": { "externalId": "client" } });
    for (query, v) in [
        ("query($v: JSONObject) { ledger(first: 2, filter: $v) { totalCount } }", hidden.clone()),
        ("query($v: ContactFilter) { ledger(first: 2, filter: $v) { totalCount } }", json!({})),
        (
            "query($v: String) { account { usage(groupBy: $v) { buckets { totals { messages } } } } }",
            json!("ACCOUNT"),
        ),
        ("query($v: String) { messages(first: $v) { totalCount } }", json!("x")),
        ("query($v: [Int]) { messages(first: $v) { totalCount } }", json!([1])),
        (
            "mutation($v: Int) { sendMessage(input: { to: \"+12025550123\", text: \"Hi\" }) { errors { code } } \
             cancelMessage(id: $v) { errors { code } } }",
            json!(1),
        ),
        (
            "mutation($v: ID) { sendMessage(input: { to: \"+12025550123\", text: \"Hi\" }) { errors { code } } \
             cancelMessage(id: $v) { errors { code } } }",
            json!("1"),
        ),
    ] {
        for variables in [json!({}), json!({ "v": v })] {
            let refused = t.ask_with(&sub.key, query, variables).await;
            assert_eq!(refused.status, 400, "{query} {}", refused.body);
            assert_eq!(refused.codes()[0], "GRAPHQL_VALIDATION_FAILED", "{query}");
        }
    }
    assert_eq!(t.everything().await, before);
}

/// The server has cached the document when the variables that are not valid are sent.
#[db_test]
async fn no_mutation_of_a_document_is_executed_if_one_variable_is_not_valid(t: &TestApp) {
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
}
