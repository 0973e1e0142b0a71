//! The log of a test.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tracing::{
    Dispatch, Subscriber,
    subscriber::{DefaultGuard, NoSubscriber, set_default},
};
use tracing_subscriber::fmt::MakeWriter;

/// Makes a subscriber hear what this thread logs, until both are dropped. With a single subscriber in the
/// process, tracing asks only the thread that meets a span or an event first, and keeps a no for all threads;
/// with two it asks both.
pub fn hear(subscriber: impl Subscriber + Send + Sync + 'static) -> (Dispatch, DefaultGuard) {
    let second = Dispatch::new(NoSubscriber::default());
    (second, set_default(subscriber))
}

/// What was logged on this thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Begins to log, until the guards are dropped.
    pub fn begin() -> (Self, (Dispatch, DefaultGuard)) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false);
        (log, hear(subscriber.finish()))
    }

    pub fn text(&self) -> String {
        let bytes = self.0.lock().expect("nobody panics with the log").clone();
        String::from_utf8(bytes).expect("text")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with the log").extend_from_slice(bytes);
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
