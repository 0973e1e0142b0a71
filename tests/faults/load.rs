//! Load: senders that keep sending and write down what became of each send, and the journal of it all,
//! which knows what was promised.

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

/// To whom all is sent; must not be found in a log.
pub const RECIPIENT: &str = "+12025550123";
/// How every text begins; must not be found in a log.
pub const TEXT_MARK: &str = "Secret-words";
pub const SEND: &str = "mutation($input: SendMessageInput!) { sendMessage(input: $input) \
                        { message { id } replayed errors { code } } }";
const RETRIES_AT_ONCE: usize = 8;

/// A message that is sent, once or again.
#[derive(Clone, Debug)]
pub struct Send {
    /// Which key it is sent with.
    pub api_key: Arc<str>,
    /// Its own; the idempotency key too, if it has one.
    pub name: String,
    /// A send without a key is never sent again.
    pub is_keyed: bool,
    pub text_chars: usize,
}

impl Send {
    /// The same words for the same name, and none that a database could press together.
    pub fn text(&self) -> String {
        let seed = self
            .name
            .bytes()
            .fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut words = StdRng::seed_from_u64(seed);
        let noise = (0..self.text_chars).map(|_| char::from(words.random_range(b'a'..=b'z')));
        format!("{TEXT_MARK} {} {}", self.name, noise.collect::<String>())
    }

    pub fn variables(&self) -> Value {
        json!({ "input": {
            "to": RECIPIENT, "text": self.text(),
            "idempotencyKey": self.is_keyed.then_some(&self.name),
        } })
    }

    pub async fn by(self, client: &mut Client) -> Attempt {
        let begun = Instant::now();
        let answer = client.graphql(&self.api_key, SEND, &self.variables()).await;
        let outcome = Outcome::of(answer);
        Attempt { send: self, begun, written: client.written, ended: Instant::now(), outcome }
    }
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged {
        id: Uuid,
        replayed: bool,
    },
    /// Judged and refused: for the caller to mend.
    Refused(String),
    /// A top-level error's code: not known whether it was done.
    Failed(String),
    /// The connection broke: not known whether it was done.
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
        let id = id.unwrap_or_else(|| panic!("an answer of no known kind: {answer:?}"));
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
    /// When its bytes were written, if they were.
    pub written: Option<Instant>,
    pub ended: Instant,
    pub outcome: Outcome,
}

/// Senders at work.
pub struct Load {
    senders: JoinSet<()>,
    stop: Arc<AtomicBool>,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl Load {
    /// Each sender sends one message after another, every fourth without an idempotency key.
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
                    let attempt = send.by(&mut client).await;
                    let has_passed = attempt.outcome.is_acknowledged();
                    attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
                    if !has_passed {
                        // What is down is asked at leisure.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            });
        }
        load
    }

    /// How many attempts so far are like this.
    pub fn count(&self, is_meant: impl Fn(&Outcome) -> bool) -> usize {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.iter().filter(|attempt| is_meant(&attempt.outcome)).count()
    }

    pub fn acknowledged(&self) -> usize {
        self.count(Outcome::is_acknowledged)
    }

    /// Lets every sender finish what it has begun.
    pub async fn stop(mut self) -> Vec<Attempt> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.expect("a sender ends in order");
        }
        std::mem::take(&mut *self.attempts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// All that was ever sent, by name, and what was promised.
#[derive(Default)]
pub struct Journal(BTreeMap<String, Noted>);

struct Noted {
    send: Send,
    acknowledged: Option<Uuid>,
    is_retried: bool,
}

impl Journal {
    pub fn note(&mut self, attempts: Vec<Attempt>) {
        for attempt in attempts {
            let noted = self.0.entry(attempt.send.name.clone()).or_insert(Noted {
                send: attempt.send,
                acknowledged: None,
                is_retried: false,
            });
            match attempt.outcome {
                Outcome::Acknowledged { id, replayed } => match noted.acknowledged {
                    None => noted.acknowledged = Some(id),
                    Some(earlier) => {
                        let name = &noted.send.name;
                        assert_eq!((id, replayed), (earlier, true), "{name} is not what it was");
                    }
                },
                Outcome::Refused(code) => panic!("a good send was refused: {code}"),
                Outcome::Failed(_) | Outcome::NoAnswer(_) => {}
            }
        }
    }

    /// Notes a send of whose outcome nothing is known.
    pub fn note_unknown(&mut self, send: Send) {
        self.0.insert(send.name.clone(), Noted { send, acknowledged: None, is_retried: false });
    }

    /// Sends everything with a key again that was not yet, acknowledged or not, and says how much that
    /// was: each must be acknowledged now, as what it was.
    pub async fn retry(&mut self, address: SocketAddr) -> usize {
        let mut left: Vec<Send> = Vec::new();
        let is_left = |noted: &&mut Noted| noted.send.is_keyed && !noted.is_retried;
        for noted in self.0.values_mut().filter(is_left) {
            noted.is_retried = true;
            left.push(noted.send.clone());
        }
        let count = left.len();
        let mut retries = JoinSet::new();
        for share in left.chunks(count.div_ceil(RETRIES_AT_ONCE).max(1)) {
            let share = share.to_vec();
            retries.spawn(async move {
                let mut client = Client::new(address);
                let mut attempts = Vec::new();
                for send in share {
                    attempts.push(send.by(&mut client).await);
                }
                attempts
            });
        }
        while let Some(attempts) = retries.join_next().await {
            let attempts = attempts.expect("a retry ends in order");
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

    /// The message that each text was acknowledged with.
    pub fn acknowledged(&self) -> BTreeMap<String, Uuid> {
        let acknowledged =
            self.0.values().filter_map(|noted| Some((noted.send.text(), noted.acknowledged?)));
        acknowledged.collect()
    }
}
