//! The Prometheus metrics. No label contains text that a caller can choose, so the number of time series is limited.

use std::{sync::atomic::AtomicU64, time::Duration};

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

/// Declares the struct that contains all metrics. Each metric has an initial value, a name and a description.
macro_rules! metrics {
    ($($visibility:vis $field:ident: $type:ty = $initial:expr, $name:literal, $help:literal;)*) => {
        pub struct Metrics {
            registry: Registry,
            $($visibility $field: $type,)*
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut registry = Registry::with_prefix("tollgate");
                $(
                    let $field: $type = $initial;
                    registry.register($name, $help, $field.clone());
                )*
                Self { registry, $($field),* }
            }
        }
    };
}

metrics! {
    requests: Family<RequestLabels, Counter> = Family::default(),
        "requests", "Number of requests by operation type and result code";
    request_seconds: Family<OperationLabel, Histogram> = Family::new_with_constructor(seconds),
        "request_seconds", "Duration of requests in seconds";
    messages: Family<VerdictLabel, Counter> = Family::default(),
        "messages", "Number of sends by result: ACCEPTED, REPLAYED or the refusal's code";
    batch_messages: Histogram = Histogram::new(exponential_buckets(1.0, 2.0, 9)),
        "writer_batch_messages", "Number of messages in each batch of the billing writers";
    pub sockets: Gauge = Gauge::default(),
        "sockets", "Number of open WebSockets";
    writer_waiting: Gauge = Gauge::default(),
        "writer_waiting", "Number of sends that wait for a billing writer";
    text_bytes: Gauge = Gauge::default(),
        "text_bytes", "Memory that large requests hold, in bytes of text";
    worker_lag_seconds: Gauge<f64, AtomicU64> = Gauge::default(),
        "worker_lag_seconds",
        "Seconds since the oldest due message became due; NaN if the database does not respond";
    audit_drift: Gauge = not_yet_known(),
        "audit_drift",
        "Number of differences that the last reconciliation found; -1 before the first reconciliation";
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}

fn not_yet_known() -> Gauge {
    let gauge = Gauge::default();
    gauge.set(-1);
    gauge
}

impl Metrics {
    /// Counts a request that was answered.
    pub fn note_request(&self, operation: &'static str, code: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { operation, code }).inc();
        let seconds = self.request_seconds.get_or_create(&OperationLabel { operation });
        seconds.observe(took.as_secs_f64());
    }

    /// Counts the result of a send: `ACCEPTED`, `REPLAYED`, or the code of the refusal.
    pub fn note_message(&self, verdict: &str) {
        self.messages.get_or_create(&VerdictLabel { verdict: verdict.to_owned() }).inc();
    }

    /// Records the number of messages in a batch of the billing writers.
    pub fn note_batch(&self, messages: usize) {
        self.batch_messages.observe(f64::from(u32::try_from(messages).unwrap_or(u32::MAX)));
    }

    /// Sets the number of drifts that a reconciliation found.
    pub fn note_audit(&self, drifts: usize) {
        self.audit_drift.set(i64::try_from(drifts).unwrap_or(i64::MAX));
    }

    /// Returns all metrics in the `OpenMetrics` text format. The parameters are gauges whose values are only read when
    /// metrics are requested.
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
