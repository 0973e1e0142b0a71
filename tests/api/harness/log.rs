//! Captures the log entries of a test.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::{
    Dispatch, Subscriber,
    subscriber::{DefaultGuard, NoSubscriber, set_default},
};
use tracing_subscriber::fmt::MakeWriter;

/// Sends this thread's log entries to a subscriber until both returned values are dropped. If a process has only one
/// subscriber, tracing caches the interest of that subscriber for all threads. A second subscriber prevents this
/// caching.
pub fn log_to(subscriber: impl Subscriber + Send + Sync + 'static) -> (Dispatch, DefaultGuard) {
    let second = Dispatch::new(NoSubscriber::default());
    (second, set_default(subscriber))
}

/// The log entries of one thread, as text.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Captures the log entries of this thread until the returned guards are dropped.
    pub fn begin() -> (Self, (Dispatch, DefaultGuard)) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false);
        (log, log_to(subscriber.finish()))
    }

    pub fn text(&self) -> String {
        let bytes = self.0.lock().expect("no test panics with this lock").clone();
        String::from_utf8(bytes).expect("text")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics with this lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
