//! The Prometheus metrics. No label contains text that a caller can choose, so their number is limited.

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// `query`, `mutation` or `subscription`; `none` if the request was refused before it was parsed.
    operation: &'static str,
    /// `OK`, or the code of the first error.
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

pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<OperationLabel, Histogram>,
    messages: Family<VerdictLabel, Counter>,
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
        registry.register(
            "requests",
            "Number of requests by operation type and result code",
            requests,
        );
        let seconds = self.request_seconds.clone();
        registry.register("request_seconds", "Duration of requests in seconds", seconds);
        let messages = self.messages.clone();
        registry.register(
            "messages",
            "Number of sends: ACCEPTED, REPLAYED, or the code of the refusal",
            messages,
        );
        let batches = self.batch_messages.clone();
        registry.register(
            "writer_batch_messages",
            "Number of messages in each batch of the billing writers",
            batches,
        );
        registry.register("sockets", "Number of open WebSockets", self.sockets.clone());
        let waiting = self.writer_waiting.clone();
        registry.register(
            "writer_waiting",
            "Number of sends that wait for a billing writer",
            waiting,
        );
        let texts = self.text_bytes.clone();
        registry.register("text_bytes", "Memory that large requests hold, in bytes of text", texts);
        let lag = self.worker_lag_seconds.clone();
        registry.register(
            "worker_lag_seconds",
            "Seconds since the oldest due message became due; NaN if the database does not answer",
            lag,
        );
        let drift = self.audit_drift.clone();
        registry.register(
            "audit_drift",
            "Number of contradictions that the last reconciliation found; -1 before the first one",
            drift,
        );
        self.audit_drift.set(-1);
        self
    }

    /// Counts a request that was answered.
    pub fn note_request(&self, operation: &'static str, code: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { operation, code }).inc();
        let seconds = self.request_seconds.get_or_create(&OperationLabel { operation });
        seconds.observe(took.as_secs_f64());
    }

    /// Counts the result of a send: `ACCEPTED`, `REPLAYED`, or the code of its refusal.
    pub fn note_message(&self, verdict: &str) {
        self.messages.get_or_create(&VerdictLabel { verdict: verdict.to_owned() }).inc();
    }

    /// Counts a batch of the billing writers.
    pub fn note_batch(&self, messages: usize) {
        self.batch_messages.observe(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
    }

    /// Sets the number of contradictions that a reconciliation found.
    pub fn note_audit(&self, drifts: usize) {
        self.audit_drift.set(i64::try_from(drifts).unwrap_or(i64::MAX));
    }

    /// All metrics in the Prometheus text format. The parameters are gauges that are read on demand.
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
        encode(&mut text, &self.registry).expect("writing to a String cannot fail");
        text
    }
}
