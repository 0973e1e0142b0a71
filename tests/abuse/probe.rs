//! Probes: another team at work while an attack goes on. Each has a thread and a runtime of its own, so that
//! what is measured is the server and not the attack's share of this process.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinSet, time::sleep};

use crate::{
    client::{Answer, Client},
    figures::Times,
};

/// The address that probes come from: not the attack's, which may have as many connections as it can get.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// A request of a probe never takes longer.
pub const WAIT_MAX: Duration = Duration::from_secs(2);
/// A message is delivered within so much of its acceptance.
pub const DELIVERED_WITHIN: Duration = Duration::from_secs(10);
/// How long the probe rests between requests.
const REST: Duration = Duration::from_millis(20);
/// How often a message is sent whose delivery is waited for.
const DELIVERY_EVERY: Duration = Duration::from_millis(250);

const SEND: &str = "mutation($input: SendMessageInput!) { sendMessage(input: $input) \
                    { message { id } errors { code } } }";
const PAGE: &str = "{ messages(first: 20) { nodes { id status to text cost createdAt } } }";
const STATUS: &str = "query($id: ID!) { message(id: $id) { status } }";

/// A probe at work.
pub struct Probe<T> {
    is_over: Arc<AtomicBool>,
    outcome: oneshot::Receiver<T>,
}

/// Whether a probe is to end.
#[derive(Clone)]
pub struct Over(Arc<AtomicBool>);

impl Over {
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: Send + 'static> Probe<T> {
    /// Begins something that goes on until it is over.
    pub fn start<F: Future<Output = T>>(work: impl FnOnce(Over) -> F + Send + 'static) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let over = Over(Arc::clone(&is_over));
        let (tell, outcome) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let _ = tell.send(runtime.expect("a runtime starts").block_on(work(over)));
        });
        Self { is_over, outcome }
    }

    /// Lets it finish what it has begun, and gives what it found.
    pub async fn stop(self) -> T {
        self.is_over.store(true, Ordering::Relaxed);
        self.outcome.await.expect("a probe ends in order")
    }
}

/// One request of a probe.
pub struct Sample {
    pub what: &'static str,
    pub took: Duration,
    /// What it was told instead of what it asked for.
    pub refused: Option<String>,
}

/// How long the requests took.
pub fn times(samples: &[Sample]) -> Times {
    Times::new(samples.iter().map(|sample| sample.took))
}

/// Sends one message after another, and reads a page after each.
pub fn sends_and_reads(address: SocketAddr, key: &str) -> Probe<Vec<Sample>> {
    let key = key.to_owned();
    Probe::start(move |over| async move {
        let mut client = Client::new_from(ADDRESS, address);
        let input = json!({ "input": { "to": "+12025550123", "text": "Your code is 123456" } });
        let mut samples = Vec::new();
        while !over.is_so() {
            for (what, query, variables) in [("send", SEND, &input), ("page", PAGE, &json!({}))] {
                samples.push(sample(&mut client, what, &key, query, variables).await.0);
                sleep(REST).await;
            }
        }
        samples
    })
}

/// Opts one address out after another.
pub fn mutations(address: SocketAddr, key: &str) -> Probe<Vec<Sample>> {
    const ADD: &str =
        "mutation($input: AddOptOutInput!) { addOptOut(input: $input) { errors { code } } }";
    let key = key.to_owned();
    Probe::start(move |over| async move {
        let mut client = Client::new_from(ADDRESS, address);
        let mut samples = Vec::new();
        while !over.is_so() {
            let opted_out = json!({ "input": { "address": "+12025550199" } });
            samples.push(sample(&mut client, "opt-out", &key, ADD, &opted_out).await.0);
            sleep(REST).await;
        }
        samples
    })
}

/// Sends a message now and then, and gives how long each took to be delivered, or what was seen of it last.
pub fn deliveries(address: SocketAddr, key: &str) -> Probe<Vec<Result<Duration, String>>> {
    let key = key.to_owned();
    Probe::start(move |over| async move {
        let mut deliveries = JoinSet::new();
        while !over.is_so() {
            let client = Client::new_from(ADDRESS, address);
            deliveries.spawn(delivery(client, key.clone()));
            sleep(DELIVERY_EVERY).await;
        }
        deliveries.join_all().await
    })
}

async fn delivery(mut client: Client, key: String) -> Result<Duration, String> {
    let input = json!({ "input": { "to": "+12025550124", "text": "Your code is 654321" } });
    let (sample, sent) = sample(&mut client, "send", &key, SEND, &input).await;
    let accepted = Instant::now();
    let id = sent["data"]["sendMessage"]["message"]["id"].as_str();
    let Some(id) = id else { return Err(sample.refused.unwrap_or_default()) };
    loop {
        let asked = client.graphql(&key, STATUS, &json!({ "id": id })).await;
        let seen = match asked {
            Ok(answer) => answer.json()["data"]["message"]["status"].to_string(),
            Err(failure) => failure.to_string(),
        };
        if seen == r#""DELIVERED""# {
            return Ok(accepted.elapsed());
        }
        if accepted.elapsed() > DELIVERED_WITHIN {
            return Err(seen);
        }
        sleep(REST).await;
    }
}

/// Uses each key once, in turn with a rest between them, until all were used or it is over.
pub fn fresh_keys(
    local: Option<IpAddr>,
    address: SocketAddr,
    keys: Vec<String>,
    rest: Duration,
) -> Probe<Vec<Sample>> {
    Probe::start(move |over| async move {
        let mut samples = Vec::new();
        for key in keys {
            if over.is_so() {
                break;
            }
            let mut client = match local {
                Some(local) => Client::new_from(local, address),
                None => Client::new(address),
            };
            let query = "{ account { name } }";
            samples.push(sample(&mut client, "fresh key", &key, query, &json!({})).await.0);
            sleep(rest).await;
        }
        samples
    })
}

/// Asks something, and says how that went and what came.
async fn sample(
    client: &mut Client,
    what: &'static str,
    key: &str,
    query: &str,
    variables: &Value,
) -> (Sample, Value) {
    let begun = Instant::now();
    let answer = client.graphql(key, query, variables).await;
    let took = begun.elapsed();
    let (refused, answer) = match answer {
        Ok(answer) => (refusal(&answer), answer.json()),
        Err(failure) => (Some(failure.to_string()), Value::Null),
    };
    (Sample { what, took, refused }, answer)
}

/// Why an answer does not hold what was asked for.
fn refusal(answer: &Answer) -> Option<String> {
    let json = answer.json();
    let payload = &json["data"]["sendMessage"]["errors"];
    let is_good = answer.status == 200
        && json["errors"].is_null()
        && json["data"].is_object()
        && payload.as_array().is_none_or(Vec::is_empty);
    (!is_good).then(|| format!("{} {}", answer.status, answer.body))
}
