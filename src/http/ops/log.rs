//! The request id and the log span of a request. A client's own `X-Request-Id` and W3C `traceparent` are used.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName},
};
use tower_http::request_id::RequestId;
use tracing::Span;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Maximum number of characters in a request id that is accepted from a client.
pub const REQUEST_ID_CHARS_MAX: usize = 64;

/// Removes a client's request id if it is too long or contains characters other than ASCII letters, digits and hyphens,
/// because request ids are logged and echoed. The request then gets a new id.
pub async fn drop_invalid_request_id(mut request: Request) -> Request {
    let is_plain = request.headers().get(REQUEST_ID).is_none_or(|id| {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        !id.is_empty() && id.len() <= REQUEST_ID_CHARS_MAX && id.as_bytes().iter().all(is_plain)
    });
    if !is_plain {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

/// Returns the span of a request's log lines. The span contains the path without the query string, because keys and
/// queries must not be logged.
pub fn span(request: &Request) -> Span {
    let id = request.extensions().get::<RequestId>();
    let id = id.and_then(|id| id.header_value().to_str().ok()).unwrap_or_default();
    let path = request.uri().path();
    match trace_id(request.headers()) {
        None => tracing::info_span!("request", request.id = id, method = %request.method(), path),
        Some(trace_id) => tracing::info_span!(
            "request", request.id = id, trace.id = trace_id, method = %request.method(), path
        ),
    }
}

/// Returns the trace id in `traceparent` (W3C Trace Context, section 3.2).
fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let parent = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = parent.split('-');
    let version = parts.next().filter(|version| is_hex(version, 2) && *version != "ff")?;
    let trace_id =
        parts.next().filter(|id| is_hex(id, 32) && id.bytes().any(|digit| digit != b'0'))?;
    parts.next().filter(|id| is_hex(id, 16) && id.bytes().any(|digit| digit != b'0'))?;
    parts.next().filter(|flags| is_hex(flags, 2))?;
    // Later versions may have more parts.
    (version != "00" || parts.next().is_none()).then_some(trace_id)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_traceparent_gives_the_trace_id() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (parent, expected) in [
            (format!("00-{trace}-00f067aa0ba902b7-01"), Some(trace)),
            (format!("01-{trace}-00f067aa0ba902b7-01-more"), Some(trace)),
            (format!("00-{trace}-00f067aa0ba902b7-01-more"), None),
            (format!("ff-{trace}-00f067aa0ba902b7-01"), None),
            (format!("00-{trace}-0000000000000000-01"), None),
            (format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            (format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()), None),
            ("junk".to_owned(), None),
        ] {
            let headers = [("traceparent".parse().expect("a name"), parent.parse().expect("text"))];
            assert_eq!(trace_id(&headers.into_iter().collect()), expected, "{parent}");
        }
    }
}
