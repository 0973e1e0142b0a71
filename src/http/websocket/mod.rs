//! `graphql-transport-ws` on `/graphql`: subscriptions, and queries and mutations too, over one socket. The
//! protocol and its close codes are those of the npm package graphql-ws (its `PROTOCOL.md`).
//!
//! A socket has one key, and what it asks passes the same door as every request: a place, `QueryExecutor::prepare` and
//! the rate limit, for each event too. It is closed when its key ends or its account is not ACTIVE.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_graphql::{ServerError, parser::types::OperationType};
use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    response::Response,
};
use futures_util::SinkExt as _;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, Span};

use self::{
    handshake::{Opening, greet, note_received},
    limits::{Admitted, ControlFrames},
    message::{
        ANSWERED, Close, FORBIDDEN, GOING_AWAY, ID_TAKEN, Incoming, OVER_RATE, SECOND_INIT,
        TOO_MANY_CONTROLS, TOO_SLOW, TRY_AGAIN, read, received_bytes, subscribe_id,
    },
    operation::{Answers, Held, Said, Task},
    subscription_limits::Subscribed,
};
use super::{
    REQUEST_DEADLINE, SharedState,
    graphql::read_budget,
    limits::{
        admission::RequestPermit, connections::Pace, processor_time::Meter, rate::cost_of_bytes,
    },
    negotiation::MediaType,
    request::{BODY_BYTES_MAX, operation},
    response::{TOO_BUSY, refuse, too_busy},
};
use crate::{
    domain::caller::Caller,
    graphql::{
        Prepared,
        errors::{Code, error, first_code, unavailable},
    },
};

pub mod handshake;
pub mod limits;
pub mod message;
pub mod operation;
pub mod subscription_limits;

/// The sub-protocol.
const PROTOCOL: &str = "graphql-transport-ws";
/// Operations that one socket has under way at most.
pub const OPERATIONS_MAX: usize = 50;
/// How often a silent client is asked whether it is there, and given up if it was not heard since.
const PING_INTERVAL: Duration = Duration::from_secs(25);
/// Messages that wait to be sent, besides the one that is; what makes more waits.
const OUTGOING_MAX: usize = 1;
/// How long a client may take to receive a message.
pub const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client may take to receive the end of a socket.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);
/// What is read of a socket at once. Each open one keeps so much, and the library's own measure is 32 times it.
const READ_BYTES: usize = 4 * 1024;
/// Messages of more bytes are parsed in a place only: parsed, they take many times their bytes.
const PARSED_FREELY_BYTES_MAX: usize = 512;

/// Makes the request a socket, unless it speaks another protocol or there are too many.
pub fn upgrade(shared: SharedState, upgrade: WebSocketUpgrade, opening: Opening) -> Response {
    let upgrade = upgrade.protocols([PROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let message = "The WebSocket must speak graphql-transport-ws.";
        return refuse(MediaType::Json, error(Code::BadUserInput, message));
    }
    let Some((permit, admitted)) = shared.sockets.open(opening.peer, opening.known) else {
        return too_busy(MediaType::Json);
    };
    let span = Span::current();
    upgrade
        .max_message_size(BODY_BYTES_MAX)
        .max_frame_size(BODY_BYTES_MAX)
        .read_buffer_size(READ_BYTES)
        .on_upgrade(move |socket| serve(shared, socket, opening, permit, admitted).instrument(span))
}

async fn serve(
    shared: SharedState,
    mut socket: WebSocket,
    opening: Opening,
    _place: OwnedSemaphorePermit,
    admitted: Admitted,
) {
    let sockets = shared.app.metrics.sockets.clone();
    sockets.inc();
    let mut controls = ControlFrames::default();
    let greeted = Box::pin(greet(&shared, &mut socket, &opening, admitted, &mut controls)).await;
    let close = match greeted {
        Ok((caller, ended, _of_team)) => {
            let Opening { request_id, pace, .. } = opening;
            let connection = Connection::new(shared, caller, request_id, controls, pace);
            Box::pin(connection.converse(&mut socket, &ended)).await
        }
        Err(close) => close,
    };
    let end = async {
        match close {
            Some(ANSWERED) => socket.close().await,
            Some(Close(code, reason)) => {
                // The library would send a pong that is due after the close.
                socket.flush().await?;
                let frame = CloseFrame { code, reason: reason.into() };
                socket.send(Message::Close(Some(frame))).await
            }
            None => Ok(()),
        }
    };
    // A client that has gone does not hear of it.
    let _ = timeout(CLOSE_DEADLINE, end).await;
    sockets.dec();
}

pub fn text(message: &Value) -> Message {
    Message::Text(message.to_string().into())
}

/// An operation that is under way. It ends when this is dropped.
struct Underway {
    number: u64,
    _guard: DropGuard,
    /// Of a subscription.
    _place: Option<Subscribed>,
}

/// A socket whose key is known.
struct Connection {
    shared: SharedState,
    caller: Caller,
    request_id: String,
    /// What is under way, by id.
    operations: HashMap<String, Underway>,
    begun: u64,
    controls: ControlFrames,
    pace: Arc<Pace>,
    /// The last large message: while the library keeps its buffer, this is not the only handle to it.
    large: Option<Bytes>,
    say: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
    /// Cancelled when the client does not take what is said.
    is_slow: CancellationToken,
}

impl Connection {
    fn new(
        shared: SharedState,
        caller: Caller,
        request_id: String,
        controls: ControlFrames,
        pace: Arc<Pace>,
    ) -> Self {
        let (say, said) = mpsc::channel(OUTGOING_MAX);
        let (operations, is_slow) = (HashMap::new(), CancellationToken::new());
        Self {
            shared,
            caller,
            request_id,
            operations,
            begun: 0,
            controls,
            pace,
            large: None,
            say,
            said,
            is_slow,
        }
    }

    /// Answers until one of both ends it, and says why if it is the server.
    async fn converse(
        mut self,
        socket: &mut WebSocket,
        ended: &CancellationToken,
    ) -> Option<Close> {
        let mut pings = interval(PING_INTERVAL);
        // A late look asks once, and then gives the client its time.
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.tick().await;
        let mut was_heard = true;
        let (stop, is_slow) = (self.shared.stop.clone(), self.is_slow.clone());
        loop {
            self.give_back();
            let mut _held = None;
            let message = tokio::select! {
                biased;
                () = ended.cancelled() => return Some(FORBIDDEN),
                () = stop.cancelled() => return Some(GOING_AWAY),
                received = socket.recv() => {
                    was_heard = true;
                    match ended.run_until_cancelled(self.take(received)).await {
                        Some(Ok(answer)) => answer.map(|answer| text(&answer)),
                        Some(Err(close)) => return close,
                        None => return Some(FORBIDDEN),
                    }
                }
                () = is_slow.cancelled() => return Some(TOO_SLOW),
                Some(said) = self.said.recv() => {
                    let (message, held) = self.message_of(said);
                    _held = Some(held);
                    message
                }
                _ = pings.tick() => {
                    if !was_heard {
                        return None;
                    }
                    was_heard = false;
                    let ping = socket.send(Message::Ping(Bytes::new()));
                    if !matches!(timeout(SEND_DEADLINE, ping).await, Ok(Ok(()))) {
                        return None;
                    }
                    None
                }
            };
            if let Some(message) = message {
                // Whoever must not hear it any more does not, also if it is slow to listen.
                tokio::select! {
                    biased;
                    () = ended.cancelled() => return Some(FORBIDDEN),
                    () = is_slow.cancelled() => return Some(TOO_SLOW),
                    sent = timeout(SEND_DEADLINE, socket.send(message)) => {
                        if !matches!(sent, Ok(Ok(()))) {
                            return None;
                        }
                    }
                }
            }
        }
    }

    /// Does what a message asks for, and answers at once or not; an error ends the socket.
    async fn take(
        &mut self,
        received: Option<Result<Message, axum::Error>>,
    ) -> Result<Option<Value>, Option<Close>> {
        self.give_back();
        note_received(&self.pace, received.as_ref());
        if let Some(Ok(Message::Text(text))) = &received
            && self.pace.holds_message()
        {
            self.large = Some(text.clone().into());
        }
        let bytes = received_bytes(received.as_ref());
        let (is_large, cost) = (bytes > PARSED_FREELY_BYTES_MAX, cost_of_bytes(bytes));
        // The id that a refusal would have is not known before the message is parsed.
        if cost > 0 && self.shared.rates.charge(&self.caller, cost).is_err() {
            return Err(Some(OVER_RATE));
        }
        let mut permit = None;
        if is_large {
            permit = self.permit().await;
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
        if is_control && !self.controls.take() {
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
                    None => self.permit().await,
                };
                Ok(self.begin(id, payload, permit).await)
            }
        }
    }

    /// The refusal of a message that is too large to be parsed without a place, if it begins an operation.
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

    /// Notes that an operation is refused, and says why.
    fn refusal(&self, id: &str, refused: &[ServerError], took: Duration) -> Value {
        self.shared.app.metrics.note_request("none", first_code(refused), took);
        json!({ "id": id, "type": "error", "payload": refused })
    }

    /// Gives back what a large message counted as, once its buffer is gone.
    fn give_back(&mut self) {
        if self.large.as_ref().is_some_and(Bytes::is_unique) && self.pace.give_back() {
            self.large = None;
        }
    }

    /// A place for an operation, which is held while it is prepared and executed.
    async fn permit(&self) -> Option<RequestPermit> {
        self.shared.request_permits.of(self.caller.team_scope()).await
    }

    /// What is to be sent of what an operation said, nothing of one that the client has ended, and what it counts as
    /// meanwhile.
    fn message_of(&mut self, said: Said) -> (Option<Message>, Held) {
        let Said { id, number, message, is_last, held } = said;
        let is_underway = self.operations.get(&id).is_some_and(|found| found.number == number);
        if is_underway && is_last {
            self.operations.remove(&id);
        }
        (is_underway.then_some(message), held)
    }

    /// Begins an operation, or says why not. A subscription listens when this returns, so whatever happens
    /// once the client's next message is answered is told.
    async fn begin(
        &mut self,
        id: String,
        payload: Map<String, Value>,
        permit: Option<RequestPermit>,
    ) -> Option<Value> {
        let metrics = Arc::clone(&self.shared.app.metrics);
        let begun = Instant::now();
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
                    Ok((answers, subscribed)) => {
                        metrics.note_request("subscription", "OK", begun.elapsed());
                        self.go_on(id, subscribed, |task, _| task.tell(complexity, answers));
                        return None;
                    }
                    Err(refused) => refused,
                }
            }
            Ok((prepared, permit)) => {
                self.go_on(id, None, |task, gone| task.perform(prepared, permit, gone));
                return None;
            }
            Err(refused) => vec![refused],
        };
        Some(self.refusal(&id, &refused, begun.elapsed()))
    }

    async fn subscribe(
        &self,
        prepared: Prepared,
    ) -> Result<(Answers, Option<Subscribed>), Vec<ServerError>> {
        // An operator's key has no account, and what it asks is refused.
        let account = self.caller.account().ok();
        let permit = account.map(|account| self.shared.subscriptions.open(&account)).transpose();
        let permit = permit.map_err(|refused| vec![refused])?;
        let budget = read_budget(&self.shared, &prepared, None);
        let answers = self.shared.api.subscribe(prepared, budget, self.request_id.clone());
        match timeout(REQUEST_DEADLINE, answers).await {
            Ok(answers) => Ok((answers?, permit)),
            Err(_) => Err(vec![unavailable("The database does not answer; try again.")]),
        }
    }

    async fn prepare(&self, payload: Map<String, Value>) -> Result<Prepared, ServerError> {
        if let Err(over) = self.shared.rates.charge(&self.caller, 1) {
            self.shared.request_permits.refusal().await;
            return Err(over.error());
        }
        if self.operations.len() >= OPERATIONS_MAX {
            let message = format!("A socket has at most {OPERATIONS_MAX} operations under way.");
            return Err(error(Code::RateLimited, message));
        }
        let operation = operation(payload, false)?;
        let mut meter = Meter::new(&self.shared.rates, &self.caller);
        let prepared = self.shared.api.prepare(self.caller.clone(), operation);
        let prepared = meter.measure(prepared).await?;
        let rest = prepared.complexity().saturating_sub(1);
        self.shared.rates.pay(&self.caller, rest, &mut None).map(|()| prepared)
    }

    /// Goes on with an operation in a task of its own, until it ends or the client ends it.
    fn go_on<F>(
        &mut self,
        id: String,
        permit: Option<Subscribed>,
        perform: impl FnOnce(Task, CancellationToken) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let gone = CancellationToken::new();
        self.begun += 1;
        let underway =
            Underway { number: self.begun, _guard: gone.clone().drop_guard(), _place: permit };
        self.operations.insert(id.clone(), underway);
        let task = Task {
            shared: self.shared.clone(),
            caller: self.caller.clone(),
            request_id: self.request_id.clone(),
            say: self.say.clone(),
            id,
            number: self.begun,
            is_slow: self.is_slow.clone(),
        };
        let performed = perform(task, gone.clone());
        let performed = async move { gone.run_until_cancelled(performed).await };
        tokio::spawn(performed.in_current_span());
    }
}
