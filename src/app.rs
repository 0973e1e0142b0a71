//! The composition root: makes what every part of the running program shares, and nothing else.

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
        template::work::Templates,
        write_rate::WriteRates,
    },
    limits::memory_budget::MemoryBudget,
    metrics::Metrics,
};

/// Keys whose use is waiting to be noted; more are dropped, for the note must never slow a request.
const KEY_USES_WAITING_MAX: usize = 1024;

/// What every part of the running program shares, as the program's own work or one request uses it.
pub struct App {
    services: Arc<Services>,
    /// `None`: the program's own work, which has no bound.
    budget: Option<Arc<ReadBudget>>,
    request_id: Option<String>,
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.services
    }
}

/// What every part of the running program shares.
pub struct Services {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    /// Whether the worker trusts the clock: while it does not, nothing is delivered.
    pub is_clock_right: AtomicBool,
    pub carriers: Carriers,
    pub keys: Keys,
    /// Refused calls that are counted in the audit log.
    pub refusals: RefusalCounts,
    pub prices: Prices,
    pub senders: Senders,
    /// Judge and commit what pays.
    pub writers: Writers,
    /// The statements that move money.
    pub statements: billing::Statements,
    /// What has changed, for whoever listens.
    pub events: Arc<Events>,
    /// What listeners read of it together.
    pub updates: Updates,
    /// Keys that are in use for longer than a request.
    pub key_monitor: KeyRevocationMonitor,
    /// How much text is held for requests.
    pub memory_budget: MemoryBudget,
    /// How fast accounts may write.
    pub writes: Arc<WriteRates>,
    /// Compiles and renders templates.
    pub templates: Templates,
    pub metrics: Arc<Metrics>,
    /// Wakes the worker when there is something to deliver.
    pub due: Arc<Notify>,
    /// Whose turn it is to be delivered.
    pub turns: Rotation,
    /// Wakes the worker when a change of an account leaves something to be done with its messages.
    pub backlog: Notify,
    /// Wakes the worker when somebody was erased.
    pub erased: Notify,
    /// Ids of keys that were just used, for [`worker`] to note.
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

    /// The same with other statements than the usual ones.
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

    /// The same app for one request: [`Self::read_as`] stays within this budget.
    #[must_use]
    pub fn for_request(&self, budget: ReadBudget, request_id: &str) -> Self {
        Self {
            services: Arc::clone(&self.services),
            budget: Some(Arc::new(budget)),
            request_id: Some(request_id.to_owned()),
        }
    }

    /// The id of the request that uses the app; none for the program's own work and for commands.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The same app without the budget of a request, for work that outlives it.
    #[must_use]
    pub fn beyond_request(&self) -> Self {
        Self { services: Arc::clone(&self.services), budget: None, request_id: None }
    }

    /// Reads what this scope may see; [`Db::read`] reads for all.
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
