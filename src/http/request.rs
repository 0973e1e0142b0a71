//! Reads a GraphQL request from the body of a POST request or from the query string of a GET request.

use async_graphql::{ServerError, Variables};
use axum::http::Uri;
use serde_json::{Map, Value};

use crate::{
    graphql::{
        DocumentSource, Operation,
        errors::{Code, error},
        scalars::to_value,
    },
    json::{self, JsonError},
};

/// Maximum size of a request body.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Reads the body of a POST request.
pub fn read_body(bytes: &[u8]) -> Result<Operation, ServerError> {
    match json::parse(bytes) {
        Ok(members) => operation(members, false),
        Err(JsonError::Invalid) => {
            Err(bad("The body is not valid (expected one JSON object with a query)."))
        }
        Err(failure) => Err(bad(failure.to_string())),
    }
}

/// Reads the query parameters of a GET request.
pub fn read_query(uri: &Uri) -> Result<Operation, ServerError> {
    let mut members = Map::new();
    for (name, text) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let value = match &*name {
            // Empty parameters are treated as missing (GraphQL over HTTP, section 6.2.1).
            "operationName" | "variables" | "extensions" if text.is_empty() => continue,
            "query" | "operationName" => Value::String(text.into_owned()),
            "variables" | "extensions" => match json::parse(text.as_bytes()) {
                Ok(value) => value,
                Err(JsonError::Invalid) => {
                    return Err(bad(format!("The parameter {name} is not valid (expected JSON).")));
                }
                Err(failure) => return Err(bad(failure.to_string())),
            },
            _ => continue,
        };
        if members.insert(name.to_string(), value).is_some() {
            return Err(bad(format!("Duplicate parameter \"{name}\".")));
        }
    }
    operation(members, true)
}

/// Reads a request from its parsed JSON.
pub fn operation(mut members: Map<String, Value>, is_get: bool) -> Result<Operation, ServerError> {
    let query = match members.remove("query") {
        None | Some(Value::Null) => None,
        Some(Value::String(query)) => Some(query),
        Some(_) => return Err(bad("query is not valid (expected a string).")),
    };
    let operation_name = match members.remove("operationName") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(_) => return Err(bad("operationName is not valid (expected a string).")),
    };
    let variables = match members.remove("variables") {
        None | Some(Value::Null) => Variables::default(),
        Some(variables @ Value::Object(_)) => Variables::from_value(to_value(variables)),
        Some(_) => return Err(bad("variables is not valid (expected an object).")),
    };
    let extensions = match members.remove("extensions") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(extensions)) => extensions,
        Some(_) => return Err(bad("extensions is not valid (expected an object).")),
    };
    let source = match (query, extensions.get("persistedQuery")) {
        (Some(query), None) => DocumentSource::Text(query),
        (query, Some(persisted)) => {
            let hash = hash_of(persisted).ok_or_else(|| {
                bad("persistedQuery is not valid (expected version 1 and a sha256Hash of 64 hexadecimal digits).")
            })?;
            query
                .map_or(DocumentSource::Hash(hash), |query| DocumentSource::TextOfHash(query, hash))
        }
        (None, None) => return Err(bad("The request has no query.")),
    };
    Ok(Operation { asked: source, operation_name, variables, is_get })
}

fn hash_of(persisted: &Value) -> Option<[u8; 32]> {
    let digits = persisted.get("sha256Hash")?.as_str()?;
    let is_hash = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if persisted.get("version")?.as_u64()? != 1 || !is_hash {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

fn bad(message: impl Into<String>) -> ServerError {
    error(Code::BadUserInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicate_and_empty_parameters() {
        let duplicate = |name: &str| {
            let uri = format!("/graphql?query=x&{name}=%7B%7D&{name}=%7B%7D").parse();
            read_query(&uri.expect("a path")).err().map(|refused| refused.message)
        };
        for name in ["query", "operationName", "variables", "extensions"] {
            assert_eq!(duplicate(name), Some(format!("Duplicate parameter \"{name}\".")));
        }
        assert_eq!(duplicate("other"), None);
        let empty = "/graphql?query=x&operationName=&variables=&extensions=".parse();
        let operation =
            read_query(&empty.expect("a path")).expect("empty parameters count as missing");
        assert_eq!((operation.operation_name, operation.variables.len()), (None, 0));
        let refused = read_body(b"{}").err().map(|refused| refused.message);
        assert_eq!(refused.as_deref(), Some("The request has no query."));
    }
}
