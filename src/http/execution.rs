//! Executes a prepared query or mutation within the request's deadline.
//!
//! Executions run in separate tasks, because axum drops a handler when its client disconnects. A future that is dropped
//! while it begins a transaction can leave the connection inside that transaction (see `db`). The task of an execution
//! is never dropped, and the handler waits for the task until the deadline.

use std::{sync::Arc, time::Duration};

use async_graphql::parser::types::OperationType;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    limits::{admission::RequestPermit, processor_time::Meter},
    state::SharedState,
};
use crate::{
    db::ReadBudget,
    domain::billing::Deadline,
    graphql::{
        Answer, Prepared,
        errors::{self, Code, error},
    },
    limits::memory_budget::Reservation,
};

/// Maximum duration of a request, which includes looking up the key, receiving the body and executing the operation.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// The part of the deadline that a send reserves, so that the send can still report its outcome.
const RESPONSE_RESERVE: Duration = Duration::from_millis(500);

/// Executes a query or a mutation, and waits for the result until `until`. When the client disconnects, `gone` is
/// canceled: a query then ends early, but a mutation continues.
pub async fn run(
    shared: &SharedState,
    prepared: Prepared,
    permit: RequestPermit,
    reservation: Arc<Reservation>,
    until: Instant,
    gone: CancellationToken,
    request_id: &str,
) -> Answer {
    let executor = shared.executor.clone();
    let mut meter = Meter::new(&shared.rates, prepared.caller());
    let id = request_id.to_owned();
    let is_cancellable = prepared.kind() == OperationType::Query;
    let budget = read_budget(shared, &prepared, is_cancellable.then(|| gone.clone()));
    let deadline = Deadline { gone, ..Deadline::until(until - RESPONSE_RESERVE) };
    // The future is boxed because tokio copies the future of a spawned task several times.
    let execution = Box::pin(async move {
        // The permit is held until the execution ends, even if the client has disconnected.
        let _permit = permit;
        meter.measure(executor.execute(prepared, budget, deadline, reservation, &id)).await
    });
    let execution = shared.executions.spawn(execution.in_current_span());
    match timeout_at(until, execution).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(failure)) => {
            tracing::error!(request.id = request_id, %failure, "Processing a request failed unexpectedly");
            let message = errors::internal(request_id);
            Answer::Refused(vec![error(Code::InternalServerError, message)])
        }
        Err(_) => Answer::Refused(vec![errors::unavailable(
            "The request timed out and its outcome is unknown. Retrying with the same idempotency key is safe.",
        )]),
    }
}

/// Returns the budget for the database reads of a request. The time of the reads is charged to the request's caller.
pub fn read_budget(
    shared: &SharedState,
    prepared: &Prepared,
    gone: Option<CancellationToken>,
) -> ReadBudget {
    let (rates, caller) = (Arc::clone(&shared.rates), prepared.caller().clone());
    ReadBudget::new(move |time| rates.note_reading(&caller, time), gone)
}
