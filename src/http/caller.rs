//! Identifies the caller of a request by its API key, and determines the client address and the request id. A request
//! with an invalid key is refused here, before any work is done for it. A valid key is never refused because of the
//! client address.

use std::net::{IpAddr, SocketAddr};

use async_graphql::ServerError;
use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, header, request::Parts},
};

use super::{ops::log::REQUEST_ID, state::SharedState};
use crate::{
    domain::{
        api_key::{authentication, plain_key::PlainKey},
        caller::Caller,
    },
    graphql::errors::{self, Code, error},
};

pub const DATABASE_UNREACHABLE: &str = "The database cannot be reached; try again.";

// The format of a key is not secret, so malformed keys get specific messages. The messages do not reveal whether a
// well-formed key ever existed.
const NO_KEY: &str =
    "The request has no API key. Send it in a header: Authorization: Bearer tg_live_…";
const NO_BEARER: &str = "The Authorization header is not valid (expected Bearer, a space and an API key, as in \
                         Authorization: Bearer tg_live_…).";
const TWO_HEADERS: &str = "The request has two Authorization headers. Send one.";
const MALFORMED_KEY: &str =
    "The API key is malformed. Copy the whole key as it was shown, without quotation marks.";
const UNKNOWN_KEY: &str =
    "The API key is not valid here: it was revoked, has expired, or belongs to another server.";

/// Identifies the caller of a request by its bearer key.
pub async fn identify(
    shared: &SharedState,
    head: &Parts,
    key: Option<&str>,
) -> Result<Caller, ServerError> {
    let mut headers = head.headers.get_all(header::AUTHORIZATION).iter();
    if let (Some(first), second) = (headers.next(), headers.next()) {
        if second.is_some() {
            return Err(unauthenticated(TWO_HEADERS));
        }
        if key.is_none() {
            // A bearer key gets here only if it is not ASCII, for example because it contains the `…` of an example
            // key.
            let is_bearer = first
                .as_bytes()
                .get(..7)
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "));
            return Err(unauthenticated(if is_bearer { MALFORMED_KEY } else { NO_BEARER }));
        }
    }
    identify_from(shared, client_address(shared, head), key).await
}

/// Identifies the caller by a key that was sent from this address. After too many invalid keys from one address, an
/// invalid key gets `RATE_LIMITED`, but a valid key is still accepted. A malformed key never reaches the database.
pub async fn identify_from(
    shared: &SharedState,
    peer: IpAddr,
    key: Option<&str>,
) -> Result<Caller, ServerError> {
    let key = key.ok_or_else(|| unauthenticated(NO_KEY))?;
    match authentication::authenticate(&shared.app, key).await {
        Ok(Some(caller)) => Ok(caller),
        Ok(None) if shared.peers.note_failure(peer) => {
            let is_well_formed = PlainKey::parse(key).is_some();
            Err(unauthenticated(if is_well_formed { UNKNOWN_KEY } else { MALFORMED_KEY }))
        }
        Ok(None) => {
            let message = "Too many invalid API keys were sent from this address. Use a valid key.";
            Err(errors::try_again(Code::RateLimited, message, 1))
        }
        Err(fault) => {
            tracing::error!(%fault, "An API key could not be looked up");
            Err(errors::unavailable(DATABASE_UNREACHABLE))
        }
    }
}

fn unauthenticated(message: &'static str) -> ServerError {
    error(Code::Unauthenticated, message)
}

/// Returns the client's address, even if the client is behind trusted proxies.
pub fn client_address(shared: &SharedState, head: &Parts) -> IpAddr {
    let connected = head.extensions.get::<ConnectInfo<SocketAddr>>().map(|connected| connected.0);
    shared.peers.of(connected, &head.headers)
}

/// Returns the id that the middleware has given to the request.
pub fn request_id(headers: &HeaderMap) -> &str {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}

/// Returns the key in the header `Authorization`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    bearer_in(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

/// Returns the key in `Bearer …` (RFC 6750, section 2.1).
pub fn bearer_in(credentials: &str) -> Option<&str> {
    let (scheme, key) = credentials.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
