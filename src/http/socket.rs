//! `graphql-transport-ws` on `/graphql`: subscriptions, and queries and mutations too, over one socket. The
//! protocol and its close codes are those of the npm package graphql-ws (its `PROTOCOL.md`).
//!
//! A socket has one key, and what it asks passes the same door as every request: `Api::prepare`, the rate
//! limit, for each event too, and a place for a query or a mutation. It is closed when its key ends or its
//! account is not ACTIVE.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use async_graphql::{ServerError, parser::types::OperationType};
use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    response::Response,
};
use futures_util::{StreamExt as _, stream::BoxStream};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::{
    REQUEST_DEADLINE, Shared,
    answer::{TOO_BUSY, refuse, too_busy},
    graphql::{bearer_in, identify_peer, read_budget, run},
    negotiation::MediaType,
    request::{BODY_BYTES_MAX, operation},
    socket_message::{
        Close, FORBIDDEN, GOING_AWAY, ID_TAKEN, INIT_TIMEOUT, Incoming, SECOND_INIT, TRY_AGAIN,
        UNAUTHORIZED, read,
    },
};
use crate::{
    domain::{caller::Caller, room::Room, watch},
    graphql::{
        Answer, Prepared,
        errors::{Code, code_of, error, first_code, unavailable},
    },
    shares::Share,
};

/// The sub-protocol.
const PROTOCOL: &str = "graphql-transport-ws";
/// Operations that one socket has under way at most.
const OPERATIONS_MAX: usize = 50;
/// How long a socket may take to say who it is.
const INIT_DEADLINE: Duration = Duration::from_secs(3);
/// How often a silent client is asked whether it is there, and given up if it was not heard since.
const PING_EVERY: Duration = Duration::from_secs(25);
/// Messages that wait to be sent, besides the one that is; what makes more waits.
const OUTGOING_MAX: usize = 1;
/// How long a client may take to receive a message.
const SEND_DEADLINE: Duration = Duration::from_secs(10);

/// Who opens a socket.
pub struct Opening {
    /// The key of the request's header: it counts if the client names no other.
    pub key: Option<String>,
    pub peer: IpAddr,
    pub request_id: String,
}

/// Makes the request a socket, unless it speaks another protocol or there are too many.
pub fn upgrade(shared: Shared, upgrade: WebSocketUpgrade, opening: Opening) -> Response {
    let upgrade = upgrade.protocols([PROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let message = "The WebSocket must speak graphql-transport-ws.";
        return refuse(MediaType::Json, error(Code::BadUserInput, message));
    }
    let Some((place, stranger)) = shared.sockets.open(opening.peer) else {
        return too_busy(MediaType::Json);
    };
    let span = Span::current();
    upgrade
        .max_message_size(BODY_BYTES_MAX)
        .max_frame_size(BODY_BYTES_MAX)
        .on_upgrade(move |socket| serve(shared, socket, opening, place, stranger).instrument(span))
}

async fn serve(
    shared: Shared,
    mut socket: WebSocket,
    opening: Opening,
    _place: OwnedSemaphorePermit,
    stranger: Share<IpAddr>,
) {
    let sockets = shared.app.metrics.sockets.clone();
    sockets.inc();
    let close = match Box::pin(greet(&shared, &mut socket, &opening)).await {
        Ok((caller, ended, _of_team)) => {
            drop(stranger);
            let connection = Connection::new(shared, caller, opening.request_id);
            Box::pin(connection.converse(&mut socket, &ended)).await
        }
        Err(close) => close,
    };
    if let Some(Close(code, reason)) = close {
        let frame = CloseFrame { code, reason: reason.into() };
        // A client that has gone does not hear why.
        let _ = timeout(SEND_DEADLINE, socket.send(Message::Close(Some(frame)))).await;
    }
    sockets.dec();
}

/// Waits for the client to say who it is, and finds it a place. The token is cancelled when its key ends.
async fn greet(
    shared: &Shared,
    socket: &mut WebSocket,
    opening: &Opening,
) -> Result<(Caller, Arc<CancellationToken>, Share<Uuid>), Option<Close>> {
    let until = Instant::now() + INIT_DEADLINE;
    let payload = loop {
        let received = tokio::select! {
            received = timeout_at(until, socket.recv()) => received,
            () = shared.stop.cancelled() => return Err(Some(GOING_AWAY)),
        };
        match received.map_err(|_| Some(INIT_TIMEOUT)).and_then(read)? {
            // What needs no answer, or ends what is not under way.
            None | Some(Incoming::Complete(_)) => {}
            Some(Incoming::Init(payload)) => break payload,
            Some(Incoming::Ping) => {
                let pong = socket.send(text(&json!({ "type": "pong" })));
                timeout_at(until, pong).await.map_err(|_| None)?.map_err(|_| None)?;
            }
            Some(Incoming::Subscribe { .. }) => return Err(Some(UNAUTHORIZED)),
        }
    };
    let named = |name: &str| payload.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
    let key = match (named("authorization"), named("apiKey")) {
        (Some((_, Value::String(given))), _) => bearer_in(given),
        (None, Some((_, Value::String(given)))) => Some(given.trim()),
        (None, None) => opening.key.as_deref(),
        _ => None,
    };
    let found = async {
        let caller =
            identify_peer(shared, opening.peer, key).await.map_err(|refused| {
                match code_of(&refused) {
                    Some(Code::Unavailable | Code::RateLimited) => TRY_AGAIN,
                    _ => FORBIDDEN,
                }
            })?;
        let of_team = shared.sockets.of(caller.team_scope()).ok_or(TRY_AGAIN)?;
        match watch::watch(&shared.app, &caller).await {
            Ok(ended) => ended.map(|ended| (caller, ended, of_team)).ok_or(FORBIDDEN),
            Err(fault) => {
                tracing::error!(%fault, "The key of a socket was not looked up");
                Err(TRY_AGAIN)
            }
        }
    };
    let until = Instant::now() + REQUEST_DEADLINE;
    let found = timeout_at(until, found).await.unwrap_or(Err(TRY_AGAIN)).map_err(Some)?;
    let ack = socket.send(text(&json!({ "type": "connection_ack" })));
    timeout(SEND_DEADLINE, ack).await.map_err(|_| None)?.map_err(|_| None)?;
    Ok(found)
}

fn text(message: &Value) -> Message {
    Message::Text(message.to_string().into())
}

/// What an operation has to say.
struct Said {
    id: String,
    /// The operation's own number, for a client may use an id again.
    number: u64,
    /// `None`: that was all.
    answer: Option<Answer>,
    /// What the answer takes of the room of all, until it is sent.
    room: Option<Arc<Room>>,
}

/// A socket whose key is known.
struct Connection {
    shared: Shared,
    caller: Caller,
    request_id: String,
    /// What is under way, by id, with its number; an operation ends when its guard is dropped.
    operations: HashMap<String, (u64, DropGuard)>,
    begun: u64,
    say: mpsc::Sender<Said>,
    said: mpsc::Receiver<Said>,
}

impl Connection {
    fn new(shared: Shared, caller: Caller, request_id: String) -> Self {
        let (say, said) = mpsc::channel(OUTGOING_MAX);
        Self { shared, caller, request_id, operations: HashMap::new(), begun: 0, say, said }
    }

    /// Answers until one of both ends it, and says why if it is the server.
    async fn converse(
        mut self,
        socket: &mut WebSocket,
        ended: &CancellationToken,
    ) -> Option<Close> {
        let mut pings = interval(PING_EVERY);
        // A late look asks once, and then gives the client its time.
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pings.tick().await;
        let mut was_heard = true;
        let stop = self.shared.stop.clone();
        loop {
            let mut _room = None;
            let message = tokio::select! {
                biased;
                () = ended.cancelled() => return Some(FORBIDDEN),
                () = stop.cancelled() => return Some(GOING_AWAY),
                received = socket.recv() => {
                    was_heard = true;
                    match read(received) {
                        Err(close) => return close,
                        Ok(None) => None,
                        Ok(Some(Incoming::Ping)) => Some(json!({ "type": "pong" })),
                        Ok(Some(Incoming::Init(_))) => return Some(SECOND_INIT),
                        Ok(Some(Incoming::Complete(id))) => {
                            self.operations.remove(&id);
                            None
                        }
                        Ok(Some(Incoming::Subscribe { id, payload })) => {
                            if self.operations.contains_key(&id) {
                                return Some(ID_TAKEN);
                            }
                            match ended.run_until_cancelled(self.begin(id, payload)).await {
                                Some(refused) => refused,
                                None => return Some(FORBIDDEN),
                            }
                        }
                    }
                }
                Some(mut said) = self.said.recv() => {
                    _room = said.room.take();
                    self.message_of(said)
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
                let sent = timeout(SEND_DEADLINE, socket.send(text(&message)));
                match ended.run_until_cancelled(sent).await {
                    None => return Some(FORBIDDEN),
                    Some(Ok(Ok(()))) => {}
                    Some(_) => return None,
                }
            }
        }
    }

    /// What is to be sent of what an operation said; nothing of one that the client has ended.
    fn message_of(&mut self, said: Said) -> Option<Value> {
        let Said { id, number, answer, .. } = said;
        self.operations.get(&id).filter(|(known, _)| *known == number)?;
        let message = match answer {
            Some(Answer::Executed(response)) => {
                return Some(json!({ "id": id, "type": "next", "payload": response }));
            }
            Some(Answer::Refused(errors)) => {
                json!({ "id": id, "type": "error", "payload": errors })
            }
            None => json!({ "id": id, "type": "complete" }),
        };
        self.operations.remove(&id);
        Some(message)
    }

    /// Begins an operation, or says why not. A subscription listens when this returns, so whatever happens
    /// once the client's next message is answered is told.
    async fn begin(&mut self, id: String, payload: Map<String, Value>) -> Option<Value> {
        let metrics = Arc::clone(&self.shared.app.metrics);
        let begun = Instant::now();
        let refused = match self.prepare(payload).await {
            Ok(prepared) if prepared.kind() == OperationType::Subscription => {
                let complexity = prepared.complexity();
                let budget = read_budget(&self.shared, &prepared, None);
                let answers = self.shared.api.subscribe(prepared, budget, self.request_id.clone());
                match timeout(REQUEST_DEADLINE, answers).await {
                    Ok(Ok(answers)) => {
                        metrics.note_request("subscription", "OK", begun.elapsed());
                        self.go_on(id, |task, _| task.tell(complexity, answers));
                        return None;
                    }
                    Ok(Err(refused)) => refused,
                    Err(_) => vec![unavailable("The database does not answer; try again.")],
                }
            }
            Ok(prepared) => {
                self.go_on(id, |task, gone| task.perform(prepared, gone));
                return None;
            }
            Err(refused) => vec![refused],
        };
        metrics.note_request("none", first_code(&refused), begun.elapsed());
        Some(json!({ "id": id, "type": "error", "payload": refused }))
    }

    async fn prepare(&self, payload: Map<String, Value>) -> Result<Prepared, ServerError> {
        if self.operations.len() >= OPERATIONS_MAX {
            let message = format!("A socket has at most {OPERATIONS_MAX} operations under way.");
            return Err(error(Code::RateLimited, message));
        }
        let operation = operation(payload, false)?;
        let prepared = self.shared.api.prepare(self.caller.clone(), operation).await?;
        let charged = self.shared.rates.charge(&self.caller, prepared.complexity());
        charged.map(|_| prepared).map_err(|over| over.error())
    }

    /// Goes on with an operation in a task of its own, until it ends or the client ends it.
    fn go_on<F>(&mut self, id: String, perform: impl FnOnce(Task, CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let gone = CancellationToken::new();
        self.begun += 1;
        self.operations.insert(id.clone(), (self.begun, gone.clone().drop_guard()));
        let task = Task {
            shared: self.shared.clone(),
            caller: self.caller.clone(),
            request_id: self.request_id.clone(),
            say: self.say.clone(),
            id,
            number: self.begun,
        };
        let performed = perform(task, gone.clone());
        let performed = async move { gone.run_until_cancelled(performed).await };
        tokio::spawn(performed.in_current_span());
    }
}

/// One operation of a socket. What it says is heard by nobody once the socket has ended.
struct Task {
    shared: Shared,
    caller: Caller,
    request_id: String,
    say: mpsc::Sender<Said>,
    id: String,
    number: u64,
}

impl Task {
    /// Tells the events of a subscription. Each costs what the subscription does; who asks for more than the
    /// rate limit allows hears of them later.
    async fn tell(self, complexity: u64, mut answers: BoxStream<'static, Answer>) {
        while let Some(answer) = answers.next().await {
            self.say(Some(answer), None).await;
            while let Err(over) = self.shared.rates.charge(&self.caller, complexity) {
                sleep(over.wait).await;
            }
        }
        self.say(None, None).await;
    }

    /// Executes a query or a mutation.
    async fn perform(self, prepared: Prepared, gone: CancellationToken) {
        let (begun, operation) = (Instant::now(), prepared.kind_name());
        let until = begun + REQUEST_DEADLINE;
        let room = Arc::new(self.shared.app.rooms.of(self.caller.team_scope()));
        let held = Arc::clone(&room);
        let answer = match self.shared.places.of(self.caller.team_scope()).await {
            Some(place) => {
                run(&self.shared, prepared, place, held, until, gone, &self.request_id).await
            }
            None => Answer::Refused(vec![unavailable(TOO_BUSY)]),
        };
        let code = first_code(answer.errors());
        self.shared.app.metrics.note_request(operation, code, begun.elapsed());
        self.say(Some(answer), Some(room)).await;
        self.say(None, None).await;
    }

    async fn say(&self, answer: Option<Answer>, room: Option<Arc<Room>>) {
        let said = Said { id: self.id.clone(), number: self.number, answer, room };
        let _ = self.say.send(said).await;
    }
}
