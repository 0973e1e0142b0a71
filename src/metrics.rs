//! What the program counts, for Prometheus. Names and labels are said here and nowhere else; no label holds
//! what a caller can make up.

use std::{
    sync::atomic::{AtomicI64, AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// A request and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// `query`, `mutation`, `subscription`, or `none` where it was refused before that was known.
    operation: &'static str,
    /// `OK`, or the code of its first error.
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: String,
}

/// All that is counted.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<OperationLabel, Histogram>,
    messages: Family<VerdictLabel, Counter>,
    /// Messages of each batch of the writers.
    batch_messages: Histogram,
    pub sockets: Gauge,
    writer_waiting: Gauge,
    text_bytes: Gauge,
    worker_lag_seconds: Gauge<f64, AtomicU64>,
    audit_drift: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        let metrics = Self {
            registry: Registry::with_prefix("tollgate"),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            messages: Family::default(),
            batch_messages: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            sockets: Gauge::default(),
            writer_waiting: Gauge::default(),
            text_bytes: Gauge::default(),
            worker_lag_seconds: Gauge::default(),
            audit_drift: Gauge::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        let requests = self.requests.clone();
        registry.register("requests", "Requests by kind of operation and code", requests);
        let seconds = self.request_seconds.clone();
        registry.register("request_seconds", "How long requests took", seconds);
        let messages = self.messages.clone();
        registry.register(
            "messages",
            "Messages accepted, replayed, or refused by reason",
            messages,
        );
        let batches = self.batch_messages.clone();
        registry.register(
            "writer_batch_messages",
            "Messages of each batch of the writers",
            batches,
        );
        registry.register("sockets", "WebSockets that are open", self.sockets.clone());
        let waiting = self.writer_waiting.clone();
        registry.register("writer_waiting", "Messages that wait to be judged", waiting);
        let texts = self.text_bytes.clone();
        registry.register("text_bytes", "Bytes of texts that large requests hold", texts);
        let lag = self.worker_lag_seconds.clone();
        registry.register(
            "worker_lag_seconds",
            "How long the message that is due for longest has been due; NaN if the database does not tell",
            lag,
        );
        let drift = self.audit_drift.clone();
        registry.register(
            "audit_drift",
            "Contradictions that the last audit found; -1 before the first",
            drift,
        );
        self.audit_drift.set(-1);
        self
    }

    /// Notes an answered request.
    pub fn note_request(&self, operation: &'static str, code: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { operation, code }).inc();
        let seconds = self.request_seconds.get_or_create(&OperationLabel { operation });
        seconds.observe(took.as_secs_f64());
    }

    /// Notes the answer to a message: ACCEPTED, REPLAYED, or the code of its refusal.
    pub fn note_message(&self, verdict: &str) {
        self.messages.get_or_create(&VerdictLabel { verdict: verdict.to_owned() }).inc();
    }

    /// Notes a batch of the writers.
    pub fn note_batch(&self, messages: usize) {
        self.batch_messages.observe(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
    }

    /// Notes what an audit found.
    pub fn note_audit(&self, drifts: usize) {
        self.audit_drift.set(i64::try_from(drifts).unwrap_or(i64::MAX));
    }

    /// All of it in Prometheus' text format; three figures are taken when it is asked for.
    pub fn text(
        &self,
        writer_waiting: usize,
        text_bytes: usize,
        worker_lag: Option<Duration>,
    ) -> String {
        self.writer_waiting.set(i64::try_from(writer_waiting).unwrap_or(i64::MAX));
        self.text_bytes.set(i64::try_from(text_bytes).unwrap_or(i64::MAX));
        self.worker_lag_seconds.set(worker_lag.map_or(f64::NAN, |lag| lag.as_secs_f64()));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes whatever is written");
        text
    }
}
