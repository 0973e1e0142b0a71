//! `POST /sandbox/inbound`: what a person writes back, said by whoever tries the sandbox. A carrier that
//! receives messages hands them to [`record_inbound_message`] itself.

use async_graphql::ServerError;
use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::{
    Shared,
    answer::{TOO_BUSY, refuse},
    graphql::{REQUEST_DEADLINE, bearer, identify, request_id},
    negotiation::{MediaType, is_json},
};
use crate::{
    domain::{
        Fault,
        caller::AccountCaller,
        inbound::{InboundMessage, record_inbound_message},
    },
    graphql::errors::{self, Code, code_of, error},
};

pub const PATH: &str = "/sandbox/inbound";
/// Bytes of a body at most.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Says what the text did: `{"effect":"OPTED_OUT"}`. Any LIVE key of an account has its account receive one.
pub async fn receive(State(shared): State<Shared>, request: Request) -> Response {
    let until = Instant::now() + REQUEST_DEADLINE;
    let (head, body) = request.into_parts();
    let effect = async {
        if head.method != Method::POST {
            let message = "An inbound message is sent with POST.";
            return Err(error(Code::MethodNotAllowed, message));
        }
        let key = bearer(&head.headers);
        let caller = timeout_at(until, identify(&shared, &head, key)).await;
        let caller = caller.map_err(|_| too_late())??;
        let id = request_id(&head.headers).to_owned();
        let refused = |fault: Fault| errors::of_fault(&fault, &id);
        let account = caller.account().and_then(AccountCaller::live).map_err(refused)?;
        let received = timeout_at(until, read(&head.headers, body)).await;
        let message = received.map_err(|_| too_late())??;
        let place = shared.places.of(caller.team_scope()).await;
        let place = place.ok_or_else(|| errors::unavailable(TOO_BUSY))?;
        shared.rates.charge(&caller, 1).map_err(|over| over.error())?;
        // A task of its own, as in `graphql`: a client that hangs up leaves nothing half-way.
        let app = shared.app.clone();
        let record = async move {
            let _place = place;
            record_inbound_message(&app, account.account_id(), &message).await
        };
        let recorded = shared.executions.spawn(record.in_current_span());
        match timeout_at(until, recorded).await {
            Ok(Ok(effect)) => effect.map_err(refused),
            Ok(Err(failure)) => {
                tracing::error!(request.id = id, %failure, "An inbound message broke off");
                Err(error(Code::InternalServerError, errors::internal(&id)))
            }
            Err(_) => Err(too_late()),
        }
    };
    match effect.await {
        Ok(effect) => Json(json!({ "effect": effect })).into_response(),
        Err(refused) => {
            let code = code_of(&refused);
            let mut response = refuse(MediaType::Json, refused);
            if code == Some(Code::Forbidden) {
                *response.status_mut() = StatusCode::FORBIDDEN;
            } else if code == Some(Code::MethodNotAllowed) {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            response
        }
    }
}

async fn read(headers: &HeaderMap, body: Body) -> Result<InboundMessage, ServerError> {
    if !is_json(headers) {
        let message = "Send the inbound message as application/json.";
        return Err(error(Code::UnsupportedMediaType, message));
    }
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        error(
            Code::PayloadTooLarge,
            "The body has more than 16 KiB, or broke off; nothing was done.",
        )
    })?;
    serde_json::from_slice(&bytes).map_err(|_| {
        let message = r#"Send {"channel": "SMS", "from": "+12025550123", "text": "STOP"}; the channel can be EMAIL, WHATSAPP or TELEGRAM, too."#;
        error(Code::BadUserInput, message)
    })
}

fn too_late() -> ServerError {
    errors::unavailable("The request took too long; send it again: twice is once.")
}
