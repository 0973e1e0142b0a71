//! Requests, and what they get back.

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What a request got back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The data, of an answer without errors.
    #[track_caller]
    pub fn data(&self) -> &Value {
        assert_eq!(self.body["errors"], Value::Null, "{}", self.body);
        &self.body["data"]
    }

    /// The codes of the top-level errors.
    pub fn codes(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["extensions"]["code"].as_str().unwrap_or("")).collect()
    }

    /// The codes in the payload of the only root field.
    #[track_caller]
    pub fn refusals(&self) -> Vec<&str> {
        let data = self.data().as_object().expect("an object of root fields");
        let payload = data.values().next().expect("a root field");
        let errors = payload["errors"].as_array().expect("a payload's errors");
        errors.iter().map(|error| error["code"].as_str().unwrap_or("")).collect()
    }
}

/// `POST /graphql` with a key.
pub fn post(key: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/graphql")
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/graphql-response+json")
        .body(body.into())
        .expect("a request")
}

/// `GET /graphql?…` with a key.
pub fn get(key: &str, query: &str) -> Request<Body> {
    Request::get(format!("/graphql?{query}"))
        .header(header::AUTHORIZATION, format!("Bearer {key}"))
        .header(header::ACCEPT, "application/graphql-response+json")
        .body(Body::empty())
        .expect("a request")
}

/// Percent-encodes what stands in an address.
pub fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A query whose fragments double so many times below `root`, which spreads the first of them or not.
pub fn doubling(levels: usize, root: &str) -> String {
    let fragments: String = (0..levels)
        .map(|level| format!("fragment F{level} on Account {{ ...F{0} ...F{0} }} ", level + 1))
        .collect();
    format!("{root} {fragments} fragment F{levels} on Account {{ name }}")
}

/// The hash by which a persisted query is asked for.
pub fn sha256_hex(query: &str) -> String {
    Sha256::digest(query).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a JSON string.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Ids that belong to nobody: one that was never given, and one that is not written like an id.
pub const NOBODYS_IDS: [&str; 2] = ["019a0000-0000-7000-8000-000000000000", "not-an-id"];
