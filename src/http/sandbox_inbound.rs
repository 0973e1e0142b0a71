//! `POST /sandbox/inbound`: simulates a message from a recipient, so that opt-outs can be tried out in the sandbox. A
//! real carrier integration calls [`inbound::record_inbound_message`] directly.

use std::sync::Arc;

use async_graphql::ServerError;
use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::{
    caller::{bearer, identify, request_id},
    execution::REQUEST_DEADLINE,
    limits::rate::cost_of_bytes,
    negotiation::{MediaType, is_json},
    response::{TOO_BUSY, refuse_all},
    state::{HttpState, SharedState},
};
use crate::{
    domain::{
        Fault,
        caller::AccountCaller,
        channel::recipient,
        opt_out::inbound::{self, InboundMessage},
    },
    graphql::errors::{self, Code, error, first_code},
    json,
};

pub const PATH: &str = "/sandbox/inbound";
/// Maximum size of a body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Records an inbound message for the caller's account, and responds with the effect of the message, for example
/// `{"effect":"OPTED_OUT"}`. Needs a LIVE key.
pub async fn receive(State(shared): State<SharedState>, request: Request) -> Response {
    let started = Instant::now();
    let until = started + REQUEST_DEADLINE;
    let (head, body) = request.into_parts();
    let mut remaining = None;
    let effect = async {
        if head.method != Method::POST {
            let message = "Send the inbound message with POST.";
            return Err(error(Code::MethodNotAllowed, message));
        }
        let key = bearer(&head.headers);
        let caller = timeout_at(until, identify(&shared, &head, key)).await;
        let caller = caller.map_err(|_| timed_out())??;
        if let Err(limited) = shared.rates.charge_into(&caller, 1, &mut remaining) {
            shared.request_permits.delay_refusal().await;
            return Err(limited);
        }
        let id = request_id(&head.headers).to_owned();
        let refused = |fault: Fault| errors::of_fault(&fault, &id);
        let account = caller.account().and_then(AccountCaller::live).map_err(refused)?;
        if !is_json(&head.headers) {
            let message = "Send the inbound message as application/json.";
            return Err(error(Code::UnsupportedMediaType, message));
        }
        let (key_id, team_id) = (caller.key_id, caller.team_scope());
        let bodies = &shared.bodies;
        let received = bodies.receive(key_id, team_id, body, BODY_BYTES_MAX, until).await?;
        shared.rates.charge_into(&caller, cost_of_bytes(received.len()), &mut remaining)?;
        let permit = shared.request_permits.acquire(team_id).await;
        let permit = permit.ok_or_else(|| errors::unavailable(TOO_BUSY))?;
        let message = read(&received)?;
        if let Err(rule) = recipient::parse(&message.from, Some(message.channel)) {
            return Err(error(Code::BadUserInput, rule.replacen("The recipient", "from", 1)));
        }
        drop(received);
        // The message is recorded in a separate task, for the reason given in `execution`.
        let in_task = Arc::clone(&shared);
        let received = async move {
            let _permit = permit;
            let HttpState { app, stop_words, .. } = &*in_task;
            inbound::receive(app, &account, &message, stop_words).await
        };
        let received = shared.executions.spawn(received.in_current_span());
        match timeout_at(until, received).await {
            Ok(Ok(effect)) => effect.map_err(refused),
            Ok(Err(failure)) => {
                tracing::error!(request.id = id, %failure, "Processing an inbound message failed unexpectedly");
                Err(error(Code::InternalServerError, errors::internal(&id)))
            }
            Err(_) => Err(timed_out()),
        }
    };
    let (code, mut response) = match effect.await {
        Ok(effect) => {
            let headers = [
                (header::CONTENT_TYPE, "application/json"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            ];
            ("OK", (headers, json!({ "effect": effect }).to_string()).into_response())
        }
        Err(refused) => {
            let refused = [refused];
            let code = first_code(&refused);
            let mut response = refuse_all(MediaType::Json, &refused);
            if code == Code::Forbidden.as_str() {
                *response.status_mut() = StatusCode::FORBIDDEN;
            } else if code == Code::MethodNotAllowed.as_str() {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            (code, response)
        }
    };
    if let Some(remaining) = remaining {
        shared.rates.write_headers(remaining, response.headers_mut());
    }
    shared.app.metrics.note_request("inbound", code, started.elapsed());
    response
}

fn read(bytes: &[u8]) -> Result<InboundMessage, ServerError> {
    let invalid = || {
        let message = r#"The body is not valid (expected JSON such as {"channel": "SMS", "from": "+12025550123", "text": "STOP"}; the channel is SMS, EMAIL, WHATSAPP or TELEGRAM)."#;
        error(Code::BadUserInput, message)
    };
    let members: Map<String, Value> = json::parse(bytes).map_err(|_| invalid())?;
    // Only strings are accepted. Otherwise serde would accept `{"SMS": null}` as a channel and an array as the message.
    if !members.values().all(Value::is_string) {
        return Err(invalid());
    }
    serde_json::from_value(members.into()).map_err(|_| invalid())
}

fn timed_out() -> ServerError {
    errors::unavailable(
        "The request timed out and its outcome is unknown. Retrying is safe: a repeated message changes nothing.",
    )
}
