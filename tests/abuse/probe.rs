//! Probes, which use the server as another team during an attack. Each probe has a thread and a runtime of its own, so
//! that the attack's load on this process does not affect the measured times.

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

/// The local address of probes. Attacks use another address, because connections are limited per address.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Maximum duration of a probe's request.
pub const WAIT_MAX: Duration = Duration::from_secs(2);
/// Maximum time from the acceptance of a message to its delivery.
pub const DELIVERED_WITHIN: Duration = Duration::from_secs(10);
/// Pause between the requests of a probe.
const PAUSE: Duration = Duration::from_millis(20);
/// How often the delivery probe sends a message.
const DELIVERY_EVERY: Duration = Duration::from_millis(250);

const SEND: &str = "mutation($input: SendMessageInput!) { sendMessage(input: $input) \
                    { message { id } errors { code } } }";
const PAGE: &str = "{ messages(first: 20) { nodes { id status to text cost createdAt } } }";
const STATUS: &str = "query($id: ID!) { message(id: $id) { status } }";

/// A running probe.
pub struct Probe<T> {
    stop: Arc<AtomicBool>,
    outcome: oneshot::Receiver<T>,
}

/// Signals a probe to end.
#[derive(Clone)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<T: Send + 'static> Probe<T> {
    /// Starts a probe. The probe must end when the flag is set.
    pub fn start<F: Future<Output = T>>(work: impl FnOnce(StopFlag) -> F + Send + 'static) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let flag = StopFlag(Arc::clone(&stop));
        let (sender, outcome) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let _ = sender.send(runtime.expect("a runtime starts").block_on(work(flag)));
        });
        Self { stop, outcome }
    }

    /// Waits until the probe has finished its current request, and returns its result.
    pub async fn stop(self) -> T {
        self.stop.store(true, Ordering::Relaxed);
        self.outcome.await.expect("a probe does not panic")
    }
}

/// One request of a probe.
pub struct Sample {
    pub what: &'static str,
    pub took: Duration,
    /// The response if the request was refused; otherwise `None`.
    pub refused: Option<String>,
}

/// Returns the times that the requests took.
pub fn times(samples: &[Sample]) -> Times {
    Times::new(samples.iter().map(|sample| sample.took))
}

/// Sends messages one after another, and reads a page after each.
pub fn sends_and_reads(address: SocketAddr, key: &str) -> Probe<Vec<Sample>> {
    let key = key.to_owned();
    Probe::start(move |stop| async move {
        let mut client = Client::new_from(ADDRESS, address);
        let input = json!({ "input": { "to": "+12025550123", "text": "Your code is 123456" } });
        let mut samples = Vec::new();
        while !stop.is_set() {
            for (what, query, variables) in [("send", SEND, &input), ("page", PAGE, &json!({}))] {
                samples.push(sample(&mut client, what, &key, query, variables).await.0);
                sleep(PAUSE).await;
            }
        }
        samples
    })
}

/// Adds opt-outs one after another.
pub fn mutations(address: SocketAddr, key: &str) -> Probe<Vec<Sample>> {
    const ADD: &str =
        "mutation($input: AddOptOutInput!) { addOptOut(input: $input) { errors { code } } }";
    let key = key.to_owned();
    Probe::start(move |stop| async move {
        let mut client = Client::new_from(ADDRESS, address);
        let mut samples = Vec::new();
        while !stop.is_set() {
            let opted_out = json!({ "input": { "address": "+12025550199" } });
            samples.push(sample(&mut client, "opt-out", &key, ADD, &opted_out).await.0);
            sleep(PAUSE).await;
        }
        samples
    })
}

/// Sends messages regularly, and returns how long the delivery of each took, or its last status.
pub fn deliveries(address: SocketAddr, key: &str) -> Probe<Vec<Result<Duration, String>>> {
    let key = key.to_owned();
    Probe::start(move |stop| async move {
        let mut deliveries = JoinSet::new();
        while !stop.is_set() {
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
        sleep(PAUSE).await;
    }
}

/// Sends one request with each key, with a pause between the requests.
pub fn fresh_keys(
    local: Option<IpAddr>,
    address: SocketAddr,
    keys: Vec<String>,
    pause: Duration,
) -> Probe<Vec<Sample>> {
    Probe::start(move |stop| async move {
        let mut samples = Vec::new();
        for key in keys {
            if stop.is_set() {
                break;
            }
            let mut client = match local {
                Some(local) => Client::new_from(local, address),
                None => Client::new(address),
            };
            let query = "{ account { name } }";
            samples.push(sample(&mut client, "fresh key", &key, query, &json!({})).await.0);
            sleep(pause).await;
        }
        samples
    })
}

/// Sends a request, and returns the measured sample and the response.
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

/// The response if the request was refused; otherwise `None`.
fn refusal(answer: &Answer) -> Option<String> {
    let json = answer.json();
    let payload = &json["data"]["sendMessage"]["errors"];
    let is_good = answer.status == 200
        && json["errors"].is_null()
        && json["data"].is_object()
        && payload.as_array().is_none_or(Vec::is_empty);
    (!is_good).then(|| format!("{} {}", answer.status, answer.body))
}
