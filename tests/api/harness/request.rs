//! Requests and their responses.

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tollgate::http::ops::metrics;
use tower::ServiceExt as _;

use super::TestApp;

/// The response to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Returns the data of a response. Panics if the response has top-level errors.
    #[track_caller]
    pub fn data(&self) -> &Value {
        assert_eq!(self.body["errors"], Value::Null, "{}", self.body);
        &self.body["data"]
    }

    /// Returns the codes of the top-level errors.
    pub fn codes(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["extensions"]["code"].as_str().unwrap_or("")).collect()
    }

    /// Returns the error codes in the payload of the only root field.
    #[track_caller]
    pub fn refusals(&self) -> Vec<&str> {
        let data = self.data().as_object().expect("an object of root fields");
        let payload = data.values().next().expect("a root field");
        let errors = payload["errors"].as_array().expect("a payload's errors");
        errors.iter().map(|error| error["code"].as_str().unwrap_or("")).collect()
    }
}

/// Builds a `POST /graphql` request with a key.
pub fn post(key: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/graphql")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/graphql-response+json")
        .body(body.into())
        .expect("a request")
}

/// Builds a `GET /graphql?…` request with a key.
pub fn get(key: &str, query: &str) -> Request<Body> {
    Request::get(format!("/graphql?{query}"))
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::ACCEPT, "application/graphql-response+json")
        .body(Body::empty())
        .expect("a request")
}

/// Builds a `POST /sandbox/inbound` request with a key.
pub fn inbound(key: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/sandbox/inbound")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .expect("a request")
}

/// Percent-encodes a part of a URL.
pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Builds a query whose number of fields doubles `levels` times, because each fragment spreads the next one twice.
/// `root` is the text of the query's operation. The operation may spread the first fragment.
pub fn doubling(levels: usize, root: &str) -> String {
    let fragments: String = (0..levels)
        .map(|level| format!("fragment F{level} on Account {{ ...F{0} ...F{0} }} ", level + 1))
        .collect();
    format!("{root} {fragments} fragment F{levels} on Account {{ name }}")
}

/// Returns the hash that identifies a persisted query.
pub fn sha256_hex(query: &str) -> String {
    Sha256::digest(query).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the content of a JSON string. Panics if the value is not a string.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string")).to_owned()
}

/// An id that does not exist, and text that is not a valid id.
pub const UNKNOWN_IDS: [&str; 2] = ["019a0000-0000-7000-8000-000000000000", "not-an-id"];

impl TestApp {
    /// Sends a request to the router.
    pub async fn request(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router answers");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("the answer has an end").to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let body = text.parse().unwrap_or_else(|_| Value::String(text.into_owned()));
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Sends this body with a key and returns the exact text of the response.
    pub async fn raw(&self, key: &str, body: String) -> String {
        let response =
            self.router.clone().oneshot(post(key, body)).await.expect("the router answers");
        let bytes = response.into_body().collect().await.expect("the answer has an end").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8")
    }

    /// Sends a query with a key.
    pub async fn ask(&self, key: &str, query: &str) -> Answer {
        self.ask_with(key, query, json!({})).await
    }

    /// Sends a query with a key and variables.
    pub async fn ask_with(&self, key: &str, query: &str, variables: Value) -> Answer {
        let body = json!({ "query": query, "variables": variables }).to_string();
        self.request(post(key, body)).await
    }

    /// Returns the text of `/metrics`.
    pub async fn metrics(&self) -> String {
        let request = Request::get("/metrics").body(Body::empty()).expect("a request");
        let router = metrics::router(self.app.clone());
        let response = router.oneshot(request).await.expect("a response");
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }
}
