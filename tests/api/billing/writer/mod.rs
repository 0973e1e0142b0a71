//! Group commit: the billing writer writes several messages in one transaction.

mod failure;
mod lock;
mod queue;

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Answer, TestApp};

fn send_at_once(t: &Arc<TestApp>, key: &str, count: usize) -> Vec<JoinHandle<Answer>> {
    let sends = (0..count).map(|_| {
        let (t, key) = (Arc::clone(t), key.to_owned());
        tokio::spawn(
            async move { t.send(&key, json!({ "to": "+12025550123", "text": "Hi" })).await },
        )
    });
    sends.collect()
}

async fn all(sends: impl IntoIterator<Item = JoinHandle<Answer>>) -> Vec<Answer> {
    join_all(sends).await.into_iter().map(|answer| answer.expect("a response")).collect()
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

/// Returns the code of a failed request, or the code of each payload. The code is empty for an accepted message.
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
