//! An authenticated WebSocket. The session reads the client's messages, starts and ends operations, and sends their
//! responses one at a time. It closes the WebSocket if the client does not respond, a limit is exceeded or the key
//! becomes invalid.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_graphql::{ServerError, parser::types::OperationType};
use axum::{
    body::Bytes,
    extract::ws::{Message, WebSocket},
};
use serde_json::{Map, Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::{
    handshake::note_received,
    limits::ControlFrames,
    message::{
        Close, FORBIDDEN, GOING_AWAY, ID_TAKEN, Incoming, OVER_RATE, SECOND_INIT, SEND_TIMEOUT,
        TOO_MANY_CONTROLS, TOO_SLOW, TRY_AGAIN, read, received_bytes, subscribe_id, text,
    },
    operation::{Answers, MessagePermits, Outgoing, Task},
    subscription_limits::SubscriptionPermit,
};
use crate::{
    domain::caller::Caller,
    graphql::{
        Prepared,
        errors::{Code, error, first_code, unavailable},
    },
    http::{
        execution::{REQUEST_DEADLINE, read_budget},
        limits::{
            admission::RequestPermit, connections::ConnectionState, processor_time::Meter,
            rate::cost_of_bytes,
        },
        request::operation,
        response::TOO_BUSY,
        state::SharedState,
    },
};

/// Maximum number of concurrent operations of a WebSocket.
pub const OPERATIONS_MAX: usize = 50;
/// Interval of pings. A client from which nothing arrives between two pings is disconnected.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Maximum number of messages that wait while another message is being sent. Operations with further messages must
/// wait.
const OUTGOING_MAX: usize = 1;
/// Maximum size of a message that is parsed without a request permit, in bytes. Larger messages need a permit, because
/// parsing takes many times the memory of the message.
const UNRESTRICTED_PARSE_BYTES_MAX: usize = 512;

pub struct Session {
    shared: SharedState,
    caller: Caller,
    request_id: String,
    /// Running operations by the id that the client chose.
    operations: HashMap<String, RunningOperation>,
    /// Number of operations that have been started so far.
    started: u64,
    controls: ControlFrames,
    connection: Arc<ConnectionState>,
    /// The last large message. It shares the library's read buffer. Once the library replaces its read buffer, this is
    /// the only owner of the old one.
    large_message: Option<Bytes>,
    sender: mpsc::Sender<Outgoing>,
    outgoing: mpsc::Receiver<Outgoing>,
    /// Canceled when a message has waited too long to be sent.
    is_slow: CancellationToken,
}

/// A running operation. It is canceled when this value is dropped.
struct RunningOperation {
    number: u64,
    _cancel_on_drop: DropGuard,
    _subscription_permit: Option<SubscriptionPermit>,
}

impl Session {
    pub fn new(
        shared: SharedState,
        caller: Caller,
        request_id: String,
        controls: ControlFrames,
        connection: Arc<ConnectionState>,
    ) -> Self {
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        Self {
            shared,
            caller,
            request_id,
            operations: HashMap::new(),
            started: 0,
            controls,
            connection,
            large_message: None,
            sender,
            outgoing,
            is_slow: CancellationToken::new(),
        }
    }

    /// Runs until the client or the server ends the session. Returns how to close the WebSocket, or `None` if the
    /// client has disconnected.
    pub async fn run(
        mut self,
        socket: &mut WebSocket,
        key_ended: &CancellationToken,
    ) -> Option<Close> {
        let mut pings = interval(PING_INTERVAL);
        // After a delayed ping, the client still has a full interval to respond.
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.tick().await;
        let mut has_received = true;
        let (stop, is_slow) = (self.shared.stop.clone(), self.is_slow.clone());
        loop {
            self.release_large_message();
            // The permits are held until the message has been sent.
            let mut _permits = None;
            let message = tokio::select! {
                biased;
                () = key_ended.cancelled() => return Some(FORBIDDEN),
                () = stop.cancelled() => return Some(GOING_AWAY),
                received = socket.recv() => {
                    has_received = true;
                    match key_ended.run_until_cancelled(self.handle(received)).await {
                        Some(Ok(response)) => response.map(|response| text(&response)),
                        Some(Err(close)) => return close,
                        None => return Some(FORBIDDEN),
                    }
                }
                () = is_slow.cancelled() => return Some(TOO_SLOW),
                Some(outgoing) = self.outgoing.recv() => {
                    let (message, permits) = self.message_to_send(outgoing);
                    _permits = Some(permits);
                    message
                }
                _ = pings.tick() => {
                    if !has_received {
                        return None;
                    }
                    has_received = false;
                    let ping = socket.send(Message::Ping(Bytes::new()));
                    if !matches!(timeout(SEND_TIMEOUT, ping).await, Ok(Ok(()))) {
                        return None;
                    }
                    None
                }
            };
            if let Some(message) = message {
                // If the key becomes invalid while the client reads slowly, the rest of the message is not sent.
                tokio::select! {
                    biased;
                    () = key_ended.cancelled() => return Some(FORBIDDEN),
                    () = is_slow.cancelled() => return Some(TOO_SLOW),
                    sent = timeout(SEND_TIMEOUT, socket.send(message)) => {
                        if !matches!(sent, Ok(Ok(()))) {
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// Handles a received message. Returns the immediate response, if there is one. Fails if the message closes the
    /// WebSocket.
    async fn handle(
        &mut self,
        received: Option<Result<Message, axum::Error>>,
    ) -> Result<Option<Value>, Option<Close>> {
        self.release_large_message();
        note_received(&self.connection, received.as_ref());
        if let Some(Ok(Message::Text(text))) = &received
            && self.connection.holds_message()
        {
            self.large_message = Some(text.clone().into());
        }
        let bytes = received_bytes(received.as_ref());
        let (is_large, cost) = (bytes > UNRESTRICTED_PARSE_BYTES_MAX, cost_of_bytes(bytes));
        // The WebSocket is closed, because an error message would need the operation's id, which is unknown until the
        // message is parsed.
        if cost > 0 && self.shared.rates.charge(&self.caller, cost).is_err() {
            return Err(Some(OVER_RATE));
        }
        let mut permit = None;
        if is_large {
            permit = self.request_permit().await;
            if permit.is_none() {
                return self.refuse_unparsed(received.as_ref());
            }
        }
        let incoming = read(received)?;
        let is_control = match &incoming {
            None | Some(Incoming::Ping) => true,
            Some(Incoming::Complete(id)) => !self.operations.contains_key(id),
            Some(Incoming::Init(_) | Incoming::Subscribe { .. }) => false,
        };
        if is_control && self.controls.check().is_err() {
            return Err(Some(TOO_MANY_CONTROLS));
        }
        match incoming {
            None => Ok(None),
            Some(Incoming::Ping) => Ok(Some(json!({ "type": "pong" }))),
            Some(Incoming::Init(_)) => Err(Some(SECOND_INIT)),
            Some(Incoming::Complete(id)) => {
                self.operations.remove(&id);
                Ok(None)
            }
            Some(Incoming::Subscribe { id, .. }) if self.operations.contains_key(&id) => {
                Err(Some(ID_TAKEN))
            }
            Some(Incoming::Subscribe { id, payload }) => {
                let permit = match permit {
                    Some(permit) => Some(permit),
                    None => self.request_permit().await,
                };
                Ok(self.start(id, payload, permit).await)
            }
        }
    }

    /// Refuses a large message that starts an operation, because no permit to parse it is available.
    fn refuse_unparsed(
        &self,
        received: Option<&Result<Message, axum::Error>>,
    ) -> Result<Option<Value>, Option<Close>> {
        let id = subscribe_id(received).ok_or(Some(TRY_AGAIN))?;
        if self.operations.contains_key(&id) {
            return Err(Some(ID_TAKEN));
        }
        Ok(Some(self.refusal(&id, &[unavailable(TOO_BUSY)], Duration::ZERO)))
    }

    /// Counts a refused operation in the metrics, and returns its error message.
    fn refusal(&self, id: &str, refused: &[ServerError], took: Duration) -> Value {
        self.shared.app.metrics.note_request("none", first_code(refused), took);
        json!({ "id": id, "type": "error", "payload": refused })
    }

    /// Releases the permit of a large message once the library has freed the message's buffer.
    fn release_large_message(&mut self) {
        if self.large_message.as_ref().is_some_and(Bytes::is_unique)
            && self.connection.release_message()
        {
            self.large_message = None;
        }
    }

    async fn request_permit(&self) -> Option<RequestPermit> {
        self.shared.request_permits.acquire(self.caller.team_scope()).await
    }

    /// Returns the message to send and its permits. There is no message to send if the client has ended the operation.
    fn message_to_send(&mut self, outgoing: Outgoing) -> (Option<Message>, MessagePermits) {
        let Outgoing { id, number, message, is_last, permits } = outgoing;
        let is_running = self.operations.get(&id).is_some_and(|found| found.number == number);
        if is_running && is_last {
            self.operations.remove(&id);
        }
        (is_running.then_some(message), permits)
    }

    /// Starts an operation, or returns the error message if the operation is refused. When this function returns, a
    /// subscription receives all later events.
    async fn start(
        &mut self,
        id: String,
        payload: Map<String, Value>,
        permit: Option<RequestPermit>,
    ) -> Option<Value> {
        let metrics = Arc::clone(&self.shared.app.metrics);
        let started = Instant::now();
        let prepared = match permit {
            Some(permit) => self.prepare(payload).await.map(|prepared| (prepared, permit)),
            None => Err(unavailable(TOO_BUSY)),
        };
        let refused = match prepared {
            Ok((prepared, permit)) if prepared.kind() == OperationType::Subscription => {
                let complexity = prepared.complexity();
                let answers = self.subscribe(prepared).await;
                drop(permit);
                match answers {
                    Ok((answers, subscription)) => {
                        metrics.note_request("subscription", "OK", started.elapsed());
                        self.spawn(id, subscription, |task, _| {
                            task.send_events(complexity, answers)
                        });
                        return None;
                    }
                    Err(refused) => refused,
                }
            }
            Ok((prepared, permit)) => {
                self.spawn(id, None, |task, gone| task.execute(prepared, permit, gone));
                return None;
            }
            Err(refused) => vec![refused],
        };
        Some(self.refusal(&id, &refused, started.elapsed()))
    }

    async fn subscribe(
        &self,
        prepared: Prepared,
    ) -> Result<(Answers, Option<SubscriptionPermit>), Vec<ServerError>> {
        // An operator has no account. The executor refuses its subscription.
        let account = self.caller.account().ok();
        let permit = account.map(|account| self.shared.subscriptions.open(&account)).transpose();
        let permit = permit.map_err(|refused| vec![refused])?;
        let budget = read_budget(&self.shared, &prepared, None);
        let answers = self.shared.executor.subscribe(prepared, budget, self.request_id.clone());
        match timeout(REQUEST_DEADLINE, answers).await {
            Ok(answers) => Ok((answers?, permit)),
            Err(_) => Err(vec![unavailable("The database did not respond in time; try again.")]),
        }
    }

    async fn prepare(&self, payload: Map<String, Value>) -> Result<Prepared, ServerError> {
        if let Err(exceeded) = self.shared.rates.charge(&self.caller, 1) {
            self.shared.request_permits.delay_refusal().await;
            return Err(exceeded.error());
        }
        if self.operations.len() >= OPERATIONS_MAX {
            let message =
                format!("Too many operations on this WebSocket (maximum {OPERATIONS_MAX}).");
            return Err(error(Code::RateLimited, message));
        }
        let operation = operation(payload, false)?;
        let mut meter = Meter::new(&self.shared.rates, &self.caller);
        let prepared = self.shared.executor.prepare(self.caller.clone(), operation);
        let prepared = meter.measure(prepared).await?;
        // The minimum cost of 1 has already been charged.
        let cost = prepared.complexity().saturating_sub(1);
        self.shared.rates.charge_into(&self.caller, cost, &mut None).map(|()| prepared)
    }

    /// Runs an operation in its own task until the operation ends or the client ends it.
    fn spawn<F>(
        &mut self,
        id: String,
        permit: Option<SubscriptionPermit>,
        run: impl FnOnce(Task, CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let gone = CancellationToken::new();
        self.started += 1;
        let operation = RunningOperation {
            number: self.started,
            _cancel_on_drop: gone.clone().drop_guard(),
            _subscription_permit: permit,
        };
        self.operations.insert(id.clone(), operation);
        let task = Task {
            shared: self.shared.clone(),
            caller: self.caller.clone(),
            request_id: self.request_id.clone(),
            sender: self.sender.clone(),
            id,
            number: self.started,
            is_slow: self.is_slow.clone(),
        };
        let running = run(task, gone.clone());
        let running = async move { gone.run_until_cancelled(running).await };
        tokio::spawn(running.in_current_span());
    }
}
