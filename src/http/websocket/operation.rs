//! An operation of a WebSocket. It runs in its own task, which executes the operation and queues its messages. Two
//! limits apply to queued messages: how much memory they need, and how long they wait to be sent.

use std::{sync::Arc, time::Duration};

use async_graphql::{Response, ServerError, parser::types::OperationType};
use axum::extract::ws::Message;
use futures_util::{StreamExt as _, stream::BoxStream};
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::message::{text, text_bytes};
use crate::{
    domain::caller::Caller,
    graphql::{
        Answer, EventAnswer, Prepared,
        errors::{self, first_code},
    },
    http::{
        execution::{REQUEST_DEADLINE, run},
        limits::admission::RequestPermit,
        response,
        state::SharedState,
    },
    limits::{memory_budget::Reservation, quota::Permit},
};

/// Maximum time for which a message waits until the messages before it have been sent. An HTTP client has the same time
/// to receive a response.
pub const QUEUE_TIMEOUT: Duration = Duration::from_mins(1);

const MEMORY_LIMIT_REACHED: &str = "The team's memory limit for unsent WebSocket messages has been reached, so this \
    message was dropped. Read the pending messages, then retry with the same idempotency key.";

#[derive(Serialize)]
struct Next {
    id: String,
    r#type: &'static str,
    payload: Response,
}

pub type Answers = BoxStream<'static, EventAnswer>;

/// The permits that a message keeps until it has been sent: the reservation for a response, and the message's bytes in
/// the team's limit for unsent messages.
pub type MessagePermits = (Option<Arc<Reservation>>, Permit<Uuid>);

/// A message of an operation.
pub struct Outgoing {
    pub id: String,
    /// Distinguishes the operations for which the client used the same id.
    pub number: u64,
    pub message: Message,
    pub is_last: bool,
    pub permits: MessagePermits,
}

pub struct Task {
    pub shared: SharedState,
    pub caller: Caller,
    pub request_id: String,
    pub sender: mpsc::Sender<Outgoing>,
    pub id: String,
    pub number: u64,
    /// Canceled when a message has waited too long to be sent.
    pub is_slow: CancellationToken,
}

impl Task {
    /// Sends the events of a subscription. Each event costs the complexity of the subscription. If the rate limit is
    /// exceeded, events are delayed.
    pub async fn send_events(self, complexity: u64, mut answers: Answers) {
        while let Some(EventAnswer { answer, turn, reservation }) = answers.next().await {
            let message = self.message(answer, OperationType::Subscription, &reservation).await;
            // The turn is released before sending, because the client may be slow.
            drop(turn);
            self.send(message, Some(Arc::new(reservation))).await;
            while let Err(exceeded) = self.shared.rates.charge(&self.caller, complexity) {
                sleep(exceeded.wait).await;
            }
        }
        self.complete().await;
    }

    /// Executes a query or a mutation.
    pub async fn execute(self, prepared: Prepared, permit: RequestPermit, gone: CancellationToken) {
        let (started, operation, kind) = (Instant::now(), prepared.kind_name(), prepared.kind());
        let until = started + REQUEST_DEADLINE;
        let reservation = Arc::new(self.shared.app.memory_budget.of(self.caller.team_scope()));
        let id = &self.request_id;
        let answer =
            run(&self.shared, prepared, permit, Arc::clone(&reservation), until, gone, id).await;
        let code = first_code(answer.errors());
        self.shared.app.metrics.note_request(operation, code, started.elapsed());
        let message = self.message(answer, kind, &reservation).await;
        self.send(message, Some(reservation)).await;
        self.complete().await;
    }

    /// Returns the message that contains an answer, and whether it is the last message of the operation.
    async fn message(
        &self,
        answer: Answer,
        kind: OperationType,
        reservation: &Reservation,
    ) -> (Message, bool) {
        match answer {
            Answer::Executed(response) => {
                let next = Next { id: self.id.clone(), r#type: "next", payload: response };
                match response::serialize(next, kind, reservation).await {
                    Ok(pieces) => {
                        let text = String::from_utf8(pieces.into_text()).expect("JSON is UTF-8");
                        (Message::Text(text.into()), false)
                    }
                    Err(fault) => self.error(&[errors::of_fault(&fault, &self.request_id)]),
                }
            }
            Answer::Refused(errors) => self.error(&errors),
        }
    }

    fn error(&self, errors: &[ServerError]) -> (Message, bool) {
        (text(&json!({ "id": self.id, "type": "error", "payload": errors })), true)
    }

    async fn complete(&self) {
        self.send((text(&json!({ "id": self.id, "type": "complete" })), true), None).await;
    }

    /// Queues a message. The session sends queued messages one after another. If the team's limit for unsent bytes has
    /// been reached, the operation ends with an error instead. If the message waits too long, the WebSocket is closed.
    async fn send(
        &self,
        (mut message, mut is_last): (Message, bool),
        reservation: Option<Arc<Reservation>>,
    ) {
        let reserve = |message: &Message| {
            self.shared.app.memory_budget.wait(self.caller.team_scope(), text_bytes(message))
        };
        let mut permit = reserve(&message);
        if permit.is_none() {
            (message, is_last) = self.error(&[errors::unavailable(MEMORY_LIMIT_REACHED)]);
            permit = reserve(&message);
        }
        let is_queued = match permit {
            Some(permit) => {
                let (id, number, permits) = (self.id.clone(), self.number, (reservation, permit));
                queue(&self.sender, Outgoing { id, number, message, is_last, permits }).await
            }
            None => false,
        };
        if !is_queued {
            self.is_slow.cancel();
        }
    }
}

/// Waits for space in the queue. Returns false after [`QUEUE_TIMEOUT`], or if the session has ended.
async fn queue<T>(to: &mpsc::Sender<T>, message: T) -> bool {
    timeout(QUEUE_TIMEOUT, to.send(message)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_waits_at_most_a_minute() {
        let tick = Duration::from_millis(1);
        for (after, expected) in
            [(QUEUE_TIMEOUT.saturating_sub(tick), true), (QUEUE_TIMEOUT + tick, false)]
        {
            let (sender, mut receiver) = mpsc::channel(1);
            assert!(queue(&sender, 1).await);
            let receive = async {
                sleep(after).await;
                receiver.recv().await
            };
            let (is_queued, first) = tokio::join!(queue(&sender, 2), receive);
            assert_eq!((is_queued, first), (expected, Some(1)));
        }
    }
}
