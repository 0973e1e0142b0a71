//! The composition root. This module only creates the services that all parts of the running program share.

use std::{
    ops::Deref,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::{
    carrier::Carriers,
    clock::{self, Clock},
    db::{Db, ReadBudget, Readers, Scope},
    domain::{
        api_key::{authentication::Keys, revocation_monitor::KeyRevocationMonitor},
        audit_log::refusals::RefusalCounts,
        billing::{self, WriterHooks, Writers, price::Prices},
        channel::sender_cache::Senders,
        events::Events,
        message::delivery::Rotation,
        subscriptions::Updates,
        template::engine::Templates,
        write_rate::WriteRates,
    },
    limits::memory_budget::MemoryBudget,
    metrics::Metrics,
};

/// Maximum number of key uses that are waiting to be written to the database. Further uses are dropped, because a
/// request must never wait until its key use is written.
const KEY_USES_WAITING_MAX: usize = 1024;

/// The shared services, with the read budget of one request.
pub struct App {
    services: Arc<Services>,
    /// The read budget of the request; `None` for internal work, which is not limited.
    budget: Option<Arc<ReadBudget>>,
    request_id: Option<String>,
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}

/// The services that all parts of the running program share.
pub struct Services {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    /// Whether the worker considers the machine's clock correct. While this is false, no message is delivered.
    pub is_clock_right: AtomicBool,
    pub carriers: Carriers,
    pub keys: Keys,
    /// Counts repeated refusals for the audit log.
    pub refusals: RefusalCounts,
    pub prices: Prices,
    pub senders: Senders,
    /// The billing writers. They decide on all charges and commit them.
    pub writers: Writers,
    /// The SQL statements that move money.
    pub statements: billing::Statements,
    /// Publishes changes to subscribers.
    pub events: Arc<Events>,
    /// Database reads that the subscribers of an event share.
    pub updates: Updates,
    /// Detects when a key that is used by an open WebSocket connection is revoked.
    pub key_monitor: KeyRevocationMonitor,
    /// Limits the memory for text in requests and responses.
    pub memory_budget: MemoryBudget,
    /// Limits the rate at which accounts write content.
    pub writes: Arc<WriteRates>,
    /// Compiles and renders templates.
    pub templates: Templates,
    pub metrics: Arc<Metrics>,
    /// Wakes the worker when messages are due.
    pub due: Arc<Notify>,
    /// The rotation by which teams and accounts take turns in delivery.
    pub turns: Rotation,
    /// Wakes the worker when a change to an account requires changes to the account's waiting messages.
    pub backlog: Notify,
    /// Wakes the worker after an erasure.
    pub erased: Notify,
    /// The sending end of a queue of used keys' ids. The worker records these uses in the database.
    pub key_uses: mpsc::Sender<Uuid>,
}

impl App {
    /// Creates the app and starts the writers. Also returns the receiving end of [`App::key_uses`].
    pub fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        carriers: Carriers,
    ) -> (Arc<Self>, mpsc::Receiver<Uuid>) {
        let statements = billing::Statements::of(db.backend());
        Self::with_statements(db, clock, carriers, statements)
    }

    /// Like [`Self::new`], with custom SQL statements for tests.
    pub fn with_statements(
        db: Db,
        clock: Arc<dyn Clock>,
        carriers: Carriers,
        statements: billing::Statements,
    ) -> (Arc<Self>, mpsc::Receiver<Uuid>) {
        let (key_uses, uses) = mpsc::channel(KEY_USES_WAITING_MAX);
        let due = Arc::new(Notify::new());
        let events = Arc::new(Events::new(clock::new_id(&*clock), Arc::clone(&clock)));
        let metrics = Arc::new(Metrics::default());
        let hooks = WriterHooks {
            accepted: Arc::clone(&due),
            events: Arc::clone(&events),
            metrics: Arc::clone(&metrics),
        };
        let writers = Writers::start(db.writers(), statements, &clock, &hooks);
        let services = Services {
            db,
            clock,
            is_clock_right: AtomicBool::new(true),
            carriers,
            keys: Keys::default(),
            refusals: RefusalCounts::default(),
            prices: Prices::default(),
            senders: Senders::default(),
            writers,
            statements,
            events,
            updates: Updates::default(),
            key_monitor: KeyRevocationMonitor::default(),
            memory_budget: MemoryBudget::default(),
            writes: Arc::default(),
            templates: Templates::default(),
            metrics,
            due,
            turns: Rotation::default(),
            backlog: Notify::new(),
            erased: Notify::new(),
            key_uses,
        };
        (Arc::new(Self { services: Arc::new(services), budget: None, request_id: None }), uses)
    }

    /// Returns the app for one request. Its method [`Self::read_as`] uses the given budget.
    #[must_use]
    pub fn for_request(&self, budget: ReadBudget, request_id: &str) -> Self {
        Self {
            services: Arc::clone(&self.services),
            budget: Some(Arc::new(budget)),
            request_id: Some(request_id.to_owned()),
        }
    }

    /// Returns the id of the request that uses the app; `None` for the server's own work and for commands.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Returns the app without a read budget, for work that may continue after its request has ended.
    #[must_use]
    pub fn beyond_request(&self) -> Self {
        Self { services: Arc::clone(&self.services), budget: None, request_id: None }
    }

    /// Returns readers that are limited to the rows of this scope. In contrast, [`Db::read`] is not limited.
    pub fn read_as(&self, scope: impl Into<Scope>) -> Readers {
        let scope = scope.into();
        match &self.budget {
            Some(budget) => self.db.read.of_request(scope, Arc::clone(budget)),
            None => self.db.read.within(scope),
        }
    }
}

impl Services {
    /// Returns a new id. Ids are ordered by the time of the app's clock.
    pub fn new_id(&self) -> Uuid {
        clock::new_id(&*self.clock)
    }
}
