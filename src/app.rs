//! The composition root: creates the services that all parts of the running program share, and nothing else.

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

/// Maximum number of key uses that wait to be written. Further ones are dropped, so that requests never wait.
const KEY_USES_WAITING_MAX: usize = 1024;

/// The shared services, with the read budget of one request.
pub struct App {
    services: Arc<Services>,
    /// `None` for internal work, which has no read budget.
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
    /// Whether the worker trusts the clock. While it does not, nothing is delivered.
    pub is_clock_right: AtomicBool,
    pub carriers: Carriers,
    pub keys: Keys,
    /// Counts repeated refusals for the audit log.
    pub refusals: RefusalCounts,
    pub prices: Prices,
    pub senders: Senders,
    /// The billing writers, which decide on all charges and commit them.
    pub writers: Writers,
    /// The SQL statements that move money.
    pub statements: billing::Statements,
    /// Publishes changes to subscribers.
    pub events: Arc<Events>,
    /// Reads that the subscribers of an event share.
    pub updates: Updates,
    /// Detects the revocation of keys that open WebSocket connections use.
    pub key_monitor: KeyRevocationMonitor,
    /// Limits the memory for texts of requests and responses.
    pub memory_budget: MemoryBudget,
    /// Limits how fast accounts write.
    pub writes: Arc<WriteRates>,
    /// Compiles and renders templates.
    pub templates: Templates,
    pub metrics: Arc<Metrics>,
    /// Wakes the worker when messages are due.
    pub due: Arc<Notify>,
    /// The rotation by which teams and accounts take turns in delivery.
    pub turns: Rotation,
    /// Wakes the worker when a change to an account requires updates of its waiting messages.
    pub backlog: Notify,
    /// Wakes the worker after an erasure.
    pub erased: Notify,
    /// Ids of used keys, which the worker writes to the database.
    pub key_uses: mpsc::Sender<Uuid>,
}

impl App {
    /// The app, and the receiving end of [`App::key_uses`]. Starts the writers.
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

    /// The app for one request: [`Self::read_as`] uses this budget.
    #[must_use]
    pub fn for_request(&self, budget: ReadBudget, request_id: &str) -> Self {
        Self {
            services: Arc::clone(&self.services),
            budget: Some(Arc::new(budget)),
            request_id: Some(request_id.to_owned()),
        }
    }

    /// The id of the request that uses the app; `None` for the server's own work and for commands.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The app without a read budget, for work that outlives its request.
    #[must_use]
    pub fn beyond_request(&self) -> Self {
        Self { services: Arc::clone(&self.services), budget: None, request_id: None }
    }

    /// Readers that are limited to the rows of this scope; [`Db::read`] is not limited.
    pub fn read_as(&self, scope: impl Into<Scope>) -> Readers {
        let scope = scope.into();
        match &self.budget {
            Some(budget) => self.db.read.of_request(scope, Arc::clone(budget)),
            None => self.db.read.within(scope),
        }
    }
}

impl Services {
    /// A new id, ordered by this app's clock.
    pub fn new_id(&self) -> Uuid {
        clock::new_id(&*self.clock)
    }
}
