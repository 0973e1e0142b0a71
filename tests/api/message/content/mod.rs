//! The content and the recipient of a message. `sendMessage`, `sendMessages` and `messageQuote` check both in the same
//! way.

mod batch;
mod contact;
mod html;
mod template;

use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};

const MESSAGE: &str = "{ message { id channel to subject text html cost segments contact { id } } \
                       replayed errors { code field } }";

async fn send(t: &TestApp, key: &str, input: Value) -> Value {
    let query =
        format!("mutation($input: SendMessageInput!) {{ sendMessage(input: $input) {MESSAGE} }}");
    t.ask_with(key, &query, json!({ "input": input })).await.data()["sendMessage"].clone()
}

async fn send_many(t: &TestApp, key: &str, input: &[Value]) -> Answer {
    let query = format!(
        "mutation($input: [SendMessageInput!]!) {{ sendMessages(input: $input) {MESSAGE} }}"
    );
    t.ask_with(key, &query, json!({ "input": input })).await
}

async fn quote(t: &TestApp, key: &str, input: Value) -> Value {
    let query = "query($input: SendMessageInput!) { messageQuote(input: $input) \
                 { cost segments encoding wouldBeAccepted errors { code field } } }";
    t.ask_with(key, query, json!({ "input": input })).await.data()["messageQuote"].clone()
}

async fn run(t: &TestApp, key: &str, query: &str, variables: Value) {
    assert_eq!(t.ask_with(key, query, variables).await.refusals(), [""; 0], "{query}");
}

/// Asserts that each way of sending a message was refused with the same error.
#[track_caller]
fn assert_refused(answers: &[Value], code: &str, field: &str, input: &Value) {
    let expected = json!([{ "code": code, "field": ["input", field] }]);
    for answer in answers {
        assert_eq!(answer["errors"], expected, "{input}");
    }
}

/// Returns the results of `sendMessage`, `sendMessages` and `messageQuote` for the same message.
async fn each_way(t: &TestApp, key: &str, input: &Value) -> [Value; 3] {
    let many = send_many(t, key, &vec![input.clone(); 3]).await.data()["sendMessages"].clone();
    assert_eq!((&many[0]["errors"], &many[1]["errors"]), (&many[1]["errors"], &many[2]["errors"]));
    [send(t, key, input.clone()).await, many[0].clone(), quote(t, key, input.clone()).await]
}

fn bodies() -> Value {
    json!([
        { "channel": "SMS",
          "text": "Dear {{ name }}{% if code %}, your code is {{ code }}{% endif %}." },
        { "channel": "EMAIL", "subject": "For {{ name }}", "html": "<p>{{ name }}</p>" },
    ])
}

fn variables() -> Value {
    json!([{ "name": "name" }, { "name": "code", "default": "" }])
}
