//! `POST /sandbox/inbound`: what a person writes back, said by whoever tries the sandbox. A carrier that
//! receives messages hands them to [`inbound::record_inbound_message`] itself.

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
    HttpState, SharedState,
    graphql::{REQUEST_DEADLINE, bearer, identify, request_id},
    limits::rate::cost_of_bytes,
    negotiation::{MediaType, is_json},
    response::{TOO_BUSY, refuse_all},
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
/// Bytes of a body at most.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Says what the text did: `{"effect":"OPTED_OUT"}`. Any LIVE key of an account has its account receive one.
pub async fn receive(State(shared): State<SharedState>, request: Request) -> Response {
    let begun = Instant::now();
    let until = begun + REQUEST_DEADLINE;
    let (head, body) = request.into_parts();
    let mut left = None;
    let effect = async {
        if head.method != Method::POST {
            let message = "An inbound message is sent with POST.";
            return Err(error(Code::MethodNotAllowed, message));
        }
        let key = bearer(&head.headers);
        let caller = timeout_at(until, identify(&shared, &head, key)).await;
        let caller = caller.map_err(|_| too_late())??;
        if let Err(over) = shared.rates.pay(&caller, 1, &mut left) {
            shared.request_permits.refusal().await;
            return Err(over);
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
        shared.rates.pay(&caller, cost_of_bytes(received.len()), &mut left)?;
        let permit = shared.request_permits.of(team_id).await;
        let permit = permit.ok_or_else(|| errors::unavailable(TOO_BUSY))?;
        let message = read(&received)?;
        if let Err(rule) = recipient::parse(&message.from, Some(message.channel)) {
            return Err(error(Code::BadUserInput, format!("from is not valid. {rule}")));
        }
        drop(received);
        // A task of its own, as in `graphql`: a client that hangs up leaves nothing half-way.
        let in_task = Arc::clone(&shared);
        let received = async move {
            let _place = permit;
            let HttpState { app, stop_words, .. } = &*in_task;
            inbound::receive(app, &account, &message, stop_words).await
        };
        let received = shared.executions.spawn(received.in_current_span());
        match timeout_at(until, received).await {
            Ok(Ok(effect)) => effect.map_err(refused),
            Ok(Err(failure)) => {
                tracing::error!(request.id = id, %failure, "An inbound message broke off");
                Err(error(Code::InternalServerError, errors::internal(&id)))
            }
            Err(_) => Err(too_late()),
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
    if let Some(left) = left {
        shared.rates.write(left, response.headers_mut());
    }
    shared.app.metrics.note_request("inbound", code, begun.elapsed());
    response
}

fn read(bytes: &[u8]) -> Result<InboundMessage, ServerError> {
    let wrong = || {
        let message = r#"Send {"channel": "SMS", "from": "+12025550123", "text": "STOP"}; the channel can be EMAIL, WHATSAPP or TELEGRAM, too."#;
        error(Code::BadUserInput, message)
    };
    let members: Map<String, Value> = json::parse(bytes).map_err(|_| wrong())?;
    // Strings alone: serde would take {"SMS": null} for a channel, and an array for the whole.
    if !members.values().all(Value::is_string) {
        return Err(wrong());
    }
    serde_json::from_value(members.into()).map_err(|_| wrong())
}

fn too_late() -> ServerError {
    errors::unavailable(
        "The request took too long; its outcome is not known. Send it again: a repeated text changes nothing more.",
    )
}
