//! The load: senders that send continuously and record the outcome of each attempt. The journal: all sends, with the
//! messages that were acknowledged.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::client::{Answer, Client};

/// The recipient of all messages, which must not appear in a log.
pub const RECIPIENT: &str = "+12025550123";
/// The beginning of every text, which must not appear in a log.
pub const TEXT_MARK: &str = "Secret-words";
pub const SEND: &str = "mutation($input: SendMessageInput!) { sendMessage(input: $input) \
                        { message { id } replayed errors { code } } }";
const CONCURRENT_RETRIES: usize = 8;

/// A message to send, perhaps several times.
#[derive(Clone, Debug)]
pub struct Send {
    pub api_key: Arc<str>,
    /// A unique name. It is also the idempotency key, if the send has one.
    pub name: String,
    /// Whether the send has an idempotency key. Sends without a key are never retried.
    pub is_keyed: bool,
    pub text_chars: usize,
}

impl Send {
    /// Returns the text, which depends only on the name. The text is random, so that a database cannot compress it.
    pub fn text(&self) -> String {
        let seed = self
            .name
            .bytes()
            .fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut rng = StdRng::seed_from_u64(seed);
        let noise = (0..self.text_chars).map(|_| char::from(rng.random_range(b'a'..=b'z')));
        format!("{TEXT_MARK} {} {}", self.name, noise.collect::<String>())
    }

    pub fn variables(&self) -> Value {
        json!({ "input": {
            "to": RECIPIENT, "text": self.text(),
            "idempotencyKey": self.is_keyed.then_some(&self.name),
        } })
    }

    pub async fn send_with(self, client: &mut Client) -> Attempt {
        let begun = Instant::now();
        let answer = client.graphql(&self.api_key, SEND, &self.variables()).await;
        let outcome = Outcome::of(answer);
        Attempt { send: self, begun, written: client.written, ended: Instant::now(), outcome }
    }
}

/// The result of one attempt to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged {
        id: Uuid,
        replayed: bool,
    },
    /// The message was refused for a reason that the caller can correct.
    Refused(String),
    /// The request failed with the code of a top-level error. The message may have been accepted.
    Failed(String),
    /// The connection broke. The message may have been accepted.
    NoAnswer(String),
}

impl Outcome {
    pub fn of(answer: std::io::Result<Answer>) -> Self {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Self::NoAnswer(error.to_string()),
        };
        if let Some(code) = answer.code() {
            return Self::Failed(code);
        }
        let payload = &answer.json()["data"]["sendMessage"];
        if let Some(code) = payload["errors"][0]["code"].as_str() {
            return Self::Refused(code.to_owned());
        }
        let id = payload["message"]["id"].as_str().and_then(|id| id.parse().ok());
        let id = id.unwrap_or_else(|| panic!("unexpected response: {answer:?}"));
        Self::Acknowledged { id, replayed: payload["replayed"] == true }
    }

    pub fn is_acknowledged(&self) -> bool {
        matches!(self, Self::Acknowledged { .. })
    }
}

#[derive(Clone, Debug)]
pub struct Attempt {
    pub send: Send,
    pub begun: Instant,
    /// When all bytes of the request were written; `None` if not all bytes were written.
    pub written: Option<Instant>,
    pub ended: Instant,
    pub outcome: Outcome,
}

/// Running senders.
pub struct Load {
    senders: JoinSet<()>,
    stop: Arc<AtomicBool>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl Load {
    /// Starts the senders. Each sender sends messages one after another. Every fourth message has no idempotency key.
    pub fn start(
        address: SocketAddr,
        keys: &[Arc<str>],
        name: &str,
        senders: usize,
        text_chars: usize,
    ) -> Self {
        let mut load =
            Self { senders: JoinSet::new(), stop: Arc::default(), attempts: Arc::default() };
        for sender in 0..senders {
            let (stop, attempts) = (Arc::clone(&load.stop), Arc::clone(&load.attempts));
            let api_key = Arc::clone(&keys[sender % keys.len()]);
            let name = format!("{name}-{sender}");
            load.senders.spawn(async move {
                let mut client = Client::new(address);
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let send = Send {
                        api_key: Arc::clone(&api_key),
                        name: format!("{name}-{number}"),
                        is_keyed: number % 4 != 3,
                        text_chars,
                    };
                    let attempt = send.send_with(&mut client).await;
                    let is_acknowledged = attempt.outcome.is_acknowledged();
                    attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
                    if !is_acknowledged {
                        // The pause avoids a busy loop of retries.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            });
        }
        load
    }

    /// Returns the number of attempts so far with a matching outcome.
    pub fn count(&self, matches: impl Fn(&Outcome) -> bool) -> usize {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.iter().filter(|attempt| matches(&attempt.outcome)).count()
    }

    pub fn acknowledged(&self) -> usize {
        self.count(Outcome::is_acknowledged)
    }

    /// Waits until every sender has finished its current attempt.
    pub async fn stop(mut self) -> Vec<Attempt> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.expect("a sender does not panic");
        }
        std::mem::take(&mut *self.attempts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All sends by name, and the messages with which they were acknowledged.
#[derive(Default)]
pub struct Journal(BTreeMap<String, SendRecord>);

struct SendRecord {
    send: Send,
    acknowledged: Option<Uuid>,
    is_retried: bool,
}

impl Journal {
    pub fn note(&mut self, attempts: Vec<Attempt>) {
        for attempt in attempts {
            let record = self.0.entry(attempt.send.name.clone()).or_insert(SendRecord {
                send: attempt.send,
                acknowledged: None,
                is_retried: false,
            });
            match attempt.outcome {
                Outcome::Acknowledged { id, replayed } => match record.acknowledged {
                    None => record.acknowledged = Some(id),
                    Some(earlier) => {
                        let name = &record.send.name;
                        assert_eq!(
                            (id, replayed),
                            (earlier, true),
                            "a retry of {name} is another message"
                        );
                    }
                },
                Outcome::Refused(code) => panic!("a valid send was refused: {code}"),
                Outcome::Failed(_) | Outcome::NoAnswer(_) => {}
            }
        }
    }

    /// Records a send with an unknown outcome.
    pub fn note_unknown(&mut self, send: Send) {
        self.0
            .insert(send.name.clone(), SendRecord { send, acknowledged: None, is_retried: false });
    }

    /// Retries every send with an idempotency key that has not been retried yet. Each retry must be acknowledged with
    /// the same message as the original send. Returns the number of retries.
    pub async fn retry(&mut self, address: SocketAddr) -> usize {
        let mut left: Vec<Send> = Vec::new();
        let is_left = |record: &&mut SendRecord| record.send.is_keyed && !record.is_retried;
        for record in self.0.values_mut().filter(is_left) {
            record.is_retried = true;
            left.push(record.send.clone());
        }
        let count = left.len();
        let mut retries = JoinSet::new();
        for chunk in left.chunks(count.div_ceil(CONCURRENT_RETRIES).max(1)) {
            let chunk = chunk.to_vec();
            retries.spawn(async move {
                let mut client = Client::new(address);
                let mut attempts = Vec::new();
                for send in chunk {
                    attempts.push(send.send_with(&mut client).await);
                }
                attempts
            });
        }
        while let Some(attempts) = retries.join_next().await {
            let attempts = attempts.expect("a retry does not panic");
            for attempt in &attempts {
                let name = &attempt.send.name;
                assert!(
                    attempt.outcome.is_acknowledged(),
                    "retry of {name}: {:?}",
                    attempt.outcome
                );
            }
            self.note(attempts);
        }
        count
    }

    /// Returns the ids of the acknowledged messages by their texts.
    pub fn acknowledged(&self) -> BTreeMap<String, Uuid> {
        let acknowledged =
            self.0.values().filter_map(|record| Some((record.send.text(), record.acknowledged?)));
        acknowledged.collect()
    }
}
