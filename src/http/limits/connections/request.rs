//! Checks of HTTP/1.1 requests that hyper leaves to the server, and a request body that notes whether it was read to
//! its end.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, Request, StatusCode, Version, header, uri::Authority},
};
use hyper::body::{Frame, Incoming, SizeHint};

use super::connection_state::ConnectionState;

/// Returns the status with which a malformed request is refused, or `None` for a valid request. Malformed requests are
/// refused because proxies interpret them differently, and request smuggling makes use of such differences.
pub fn refusal_status<B>(request: &Request<B>) -> Option<StatusCode> {
    let headers = request.headers();
    if !has_host(headers, request.version()) {
        return Some(StatusCode::BAD_REQUEST);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    (!is_chunked).then_some(StatusCode::NOT_IMPLEMENTED)
}

/// Returns whether the request has exactly one valid `Host` (RFC 9112, section 3.2). A request with HTTP/1.0 may have
/// no `Host`.
fn has_host(headers: &HeaderMap, version: Version) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version == Version::HTTP_10,
        (Some(host), None) => {
            let host = host.as_bytes();
            host.is_empty() || !host.contains(&b'@') && Authority::try_from(host).is_ok()
        }
        _ => false,
    }
}

/// A request body that notes if it is dropped before its end.
pub struct TrackedBody {
    body: Incoming,
    has_ended: bool,
    connection: Arc<ConnectionState>,
}

impl TrackedBody {
    pub fn track(body: Incoming, connection: &Arc<ConnectionState>) -> Body {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(Self { body, has_ended: false, connection: Arc::clone(connection) })
    }
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.has_ended |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        if !self.has_ended && !self.body.is_end_stream() {
            self.connection.has_unread_input.store(true, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_host_and_no_transfer_coding_but_chunked() {
        let (bad, unknown) = (Some(StatusCode::BAD_REQUEST), Some(StatusCode::NOT_IMPLEMENTED));
        let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
        for (version, headers, expected) in [
            (v11, &[("host", "x")][..], None),
            (v11, &[("host", "")], None),
            (v11, &[("host", "api.example.com:8080")], None),
            (v11, &[("host", "my_service:80")], None),
            (v11, &[("host", "[2001:db8::1]:80")], None),
            (v11, &[], bad),
            (v11, &[("host", "x"), ("host", "x")], bad),
            (v11, &[("host", "x, y")], bad),
            (v11, &[("host", "x/y")], bad),
            (v11, &[("host", "user@x")], bad),
            (v10, &[], None),
            (v10, &[("host", "x")], None),
            (v10, &[("host", "x"), ("host", "y")], bad),
            (v11, &[("host", "x"), ("transfer-encoding", "chunked")], None),
            (v11, &[("host", "x"), ("transfer-encoding", "Chunked")], None),
            (v11, &[("host", "x"), ("transfer-encoding", "gzip, chunked")], unknown),
            (v11, &[("host", "x"), ("transfer-encoding", "chunked, chunked")], unknown),
            (v11, &[("host", "x"), ("transfer-encoding", "identity")], unknown),
            (
                v11,
                &[
                    ("host", "x"),
                    ("transfer-encoding", "chunked"),
                    ("transfer-encoding", "chunked"),
                ],
                unknown,
            ),
        ] {
            let mut request = Request::builder().version(version);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(()).expect("a request");
            assert_eq!(refusal_status(&request), expected, "{version:?} {headers:?}");
        }
    }
}
