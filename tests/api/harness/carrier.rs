//! A carrier that records the messages that are submitted to it.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use entity::message;
use tollgate::carrier::{Carrier, Report, SendError, sandbox::Sandbox};
use uuid::Uuid;

/// The sandbox carrier with a record of every submission.
#[derive(Default)]
pub struct WatchedCarrier {
    pub sent: Mutex<Vec<Uuid>>,
    /// The `from` field of each submitted message.
    pub sent_from: Mutex<Vec<Option<String>>>,
    /// The last submitted message.
    pub last: Mutex<Option<message::Model>>,
    /// Whether a message that is submitted twice may reach a person twice.
    pub reaches_people: AtomicBool,
}

#[async_trait]
impl Carrier for WatchedCarrier {
    async fn send(&self, message: &message::Model) -> Result<(), SendError> {
        self.sent.lock().expect("no test panics with this lock").push(message.id);
        let from = message.sent_from.clone();
        self.sent_from.lock().expect("no test panics with this lock").push(from);
        *self.last.lock().expect("no test panics with this lock") = Some(message.clone());
        Sandbox.send(message).await
    }

    async fn report(&self, message: &message::Model) -> Report {
        Sandbox.report(message).await
    }

    fn may_repeat(&self) -> bool {
        !self.reaches_people.load(Ordering::Relaxed)
    }
}
