//! Requests as prepared bytes.

use std::sync::Arc;

use serde_json::{Value, json};

/// Maximum number of messages in one `sendMessages`.
pub const MESSAGES_MAX: usize = 100;

/// Returns the head of a POST to `/graphql`, without the headers that describe the length of the body.
pub fn head(key: &str) -> String {
    format!(
        "POST /graphql HTTP/1.1\r\nHost: tollgate\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\n"
    )
}

/// Returns a POST to `/graphql` with this body.
pub fn post_body(key: &str, body: &str) -> Arc<[u8]> {
    format!("{}Content-Length: {}\r\n\r\n{body}", head(key), body.len()).into_bytes().into()
}

/// Returns a POST to `/graphql` with this query and these variables.
pub fn post(key: &str, query: &str, variables: &Value) -> Arc<[u8]> {
    post_body(key, &json!({ "query": query, "variables": variables }).to_string())
}

/// Returns a mutation that sends the message `$m` 400 times.
pub fn send_400() -> String {
    let list = "$m,".repeat(MESSAGES_MAX);
    let fields: String =
        (0..4).map(|at| format!("a{at}:sendMessages(input:[{list}]){{errors{{code}}}}")).collect();
    format!("mutation($m:SendMessageInput!){{{fields}}}")
}

/// Returns a selection with a field 30 times, each with a different alias.
pub fn thirty(field: &str) -> String {
    (0..30).map(|at| format!("a{at}:{field} ")).collect()
}
