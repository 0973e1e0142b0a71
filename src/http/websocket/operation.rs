//! One operation of a socket, in a task of its own: what it says, and how long that may wait.

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

use super::{message::text_bytes, text};
use crate::{
    domain::caller::Caller,
    graphql::{
        Answer, EventAnswer, Prepared,
        errors::{self, first_code},
    },
    http::{
        REQUEST_DEADLINE, SharedState, graphql::run, limits::admission::RequestPermit, response,
    },
    limits::{memory_budget::Reservation, quota::Permit},
};

/// How long a message may wait until those before it are sent: as long as an answer may take to be received.
pub const WAIT_DEADLINE: Duration = Duration::from_mins(1);

const TOO_MUCH_WAITS: &str = "Too many bytes of the team's answers wait on sockets, so this one was dropped. Read the \
    sockets, then try again with the same idempotency key.";

/// A message with an answer.
#[derive(Serialize)]
struct Next {
    id: String,
    r#type: &'static str,
    payload: Response,
}

pub type Answers = BoxStream<'static, EventAnswer>;

/// The texts of a message where they are large, and all its bytes.
pub type Held = (Option<Arc<Reservation>>, Permit<Uuid>);

/// What an operation has to say.
pub struct Said {
    pub id: String,
    /// The operation's own number, for a client may use an id again.
    pub number: u64,
    pub message: Message,
    /// Whether that was all.
    pub is_last: bool,
    /// What it counts as until it is sent.
    pub held: Held,
}

/// One operation of a socket. What it says is heard by nobody once the socket has ended.
pub struct Task {
    pub shared: SharedState,
    pub caller: Caller,
    pub request_id: String,
    pub say: mpsc::Sender<Said>,
    pub id: String,
    pub number: u64,
    /// Cancelled when the client does not take what is said.
    pub is_slow: CancellationToken,
}

impl Task {
    /// Tells the events of a subscription. Each costs what the subscription does; who asks for more than the
    /// rate limit allows hears of them later.
    pub async fn tell(self, complexity: u64, mut answers: Answers) {
        while let Some(EventAnswer { answer, turn, reservation }) = answers.next().await {
            let message = self.message(answer, OperationType::Subscription, &reservation).await;
            // The turn ends here: a client may be slow to receive the message.
            drop(turn);
            self.say(message, Some(Arc::new(reservation))).await;
            while let Err(over) = self.shared.rates.charge(&self.caller, complexity) {
                sleep(over.wait).await;
            }
        }
        self.complete().await;
    }

    /// Executes a query or a mutation.
    pub async fn perform(self, prepared: Prepared, place: RequestPermit, gone: CancellationToken) {
        let (begun, operation, kind) = (Instant::now(), prepared.kind_name(), prepared.kind());
        let until = begun + REQUEST_DEADLINE;
        let reservation = Arc::new(self.shared.app.memory_budget.of(self.caller.team_scope()));
        let held = Arc::clone(&reservation);
        let answer = run(&self.shared, prepared, place, held, until, gone, &self.request_id).await;
        let code = first_code(answer.errors());
        self.shared.app.metrics.note_request(operation, code, begun.elapsed());
        let message = self.message(answer, kind, &reservation).await;
        self.say(message, Some(reservation)).await;
        self.complete().await;
    }

    /// The message of an answer, and whether it is the last.
    async fn message(
        &self,
        answer: Answer,
        kind: OperationType,
        reservation: &Reservation,
    ) -> (Message, bool) {
        match answer {
            Answer::Executed(response) => {
                let next = Next { id: self.id.clone(), r#type: "next", payload: response };
                match response::write(next, kind, reservation).await {
                    Ok(written) => {
                        let text = String::from_utf8(written.into_text()).expect("JSON is UTF-8");
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
        self.say((text(&json!({ "id": self.id, "type": "complete" })), true), None).await;
    }

    /// Hands a message to the socket, which sends one at a time. Its bytes count from the first one on: many messages
    /// may wait. Where too much of the team waits, the operation ends with an error instead. A socket whose messages
    /// are not taken in time ends.
    async fn say(
        &self,
        (mut message, mut is_last): (Message, bool),
        reservation: Option<Arc<Reservation>>,
    ) {
        let wait = |message: &Message| {
            self.shared.app.memory_budget.wait(self.caller.team_scope(), text_bytes(message))
        };
        let mut held = wait(&message);
        if held.is_none() {
            (message, is_last) = self.error(&[errors::unavailable(TOO_MUCH_WAITS)]);
            held = wait(&message);
        }
        let is_taken = match held {
            Some(held) => {
                let (id, number, held) = (self.id.clone(), self.number, (reservation, held));
                hand_over(&self.say, Said { id, number, message, is_last, held }).await
            }
            None => false,
        };
        if !is_taken {
            self.is_slow.cancel();
        }
    }
}

/// Waits for the turn of a message; whether it came in time.
async fn hand_over<T>(to: &mpsc::Sender<T>, message: T) -> bool {
    timeout(WAIT_DEADLINE, to.send(message)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_message_waits_for_a_minute() {
        let tick = Duration::from_millis(1);
        for (after, expected) in
            [(WAIT_DEADLINE.saturating_sub(tick), true), (WAIT_DEADLINE + tick, false)]
        {
            let (say, mut said) = mpsc::channel(1);
            assert!(hand_over(&say, 1).await);
            let take = async {
                sleep(after).await;
                said.recv().await
            };
            let (is_taken, first) = tokio::join!(hand_over(&say, 2), take);
            assert_eq!((is_taken, first), (expected, Some(1)));
        }
    }
}
