//! The bytes of requests that are sent again and again.

use std::sync::Arc;

use serde_json::{Value, json};

/// Messages of one `sendMessages` at most.
pub const MESSAGES: usize = 100;

/// The head of a POST to `/graphql`, up to the headers of its body.
pub fn head(key: &str) -> String {
    format!(
        "POST /graphql HTTP/1.1\r\nHost: tollgate\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\n"
    )
}

/// A POST to `/graphql` of a body as it stands.
pub fn post_body(key: &str, body: &str) -> Arc<[u8]> {
    format!("{}Content-Length: {}\r\n\r\n{body}", head(key), body.len()).into_bytes().into()
}

/// A POST to `/graphql`.
pub fn post(key: &str, query: &str, variables: &Value) -> Arc<[u8]> {
    post_body(key, &json!({ "query": query, "variables": variables }).to_string())
}

/// Sends `$m` 400 times.
pub fn send_400() -> String {
    let list = "$m,".repeat(MESSAGES);
    let fields: String =
        (0..4).map(|at| format!("a{at}:sendMessages(input:[{list}]){{errors{{code}}}}")).collect();
    format!("mutation($m:SendMessageInput!){{{fields}}}")
}

/// A field 30 times, each under an alias.
pub fn thirty(field: &str) -> String {
    (0..30).map(|at| format!("a{at}:{field} ")).collect()
}
