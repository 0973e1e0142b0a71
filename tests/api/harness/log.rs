//! The log of a test.

use std::{
    cell::RefCell,
    io,
    sync::{Arc, Mutex, Once},
};

/// What was logged on this thread since it began.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

thread_local! {
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// The log ends with it.
pub struct Logging(());

impl Drop for Logging {
    fn drop(&mut self) {
        LOG.set(None);
    }
}

impl Log {
    /// Begins to log, until what is returned with it is dropped. There is one subscriber for all threads: those that
    /// come and go make each other miss spans.
    pub fn begin() -> (Self, Logging) {
        static SUBSCRIBED: Once = Once::new();
        SUBSCRIBED.call_once(|| {
            let subscriber =
                tracing_subscriber::fmt().with_writer(Writer::default).with_ansi(false);
            subscriber.init();
        });
        let log = Self::default();
        LOG.set(Some(log.clone()));
        (log, Logging(()))
    }

    pub fn text(&self) -> String {
        let bytes = self.0.lock().expect("nobody panics with the log").clone();
        String::from_utf8(bytes).expect("text")
    }
}

/// Writes to the log of its thread, if there is one.
#[derive(Default)]
struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow(|log| {
            if let Some(Log(log)) = log {
                log.lock().expect("nobody panics with the log").extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
