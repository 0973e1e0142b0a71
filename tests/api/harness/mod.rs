//! The app under test. It has its own database, a clock that only tests move, a carrier that records the submitted
//! messages, and the real router. The other modules add methods for each feature. Most of these methods call the API.

mod carrier;
mod clock;
mod contact;
mod cut;
mod log;
mod message;
mod phone_number;
mod postgres;
mod program;
mod request;
mod rows;
mod run;
mod sender;
mod serve;
mod socket;
mod team;
mod template;

use std::{
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use chrono::TimeDelta;
use sea_orm::{ConnectOptions, DatabaseConnection, DbBackend};
use tokio::sync::{Mutex, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::{
    app::App,
    carrier::{Carrier, Carriers},
    clock::Clock,
    db::{Db, RowSecurity},
    domain::{
        api_key::{self, NewApiKey},
        billing::{self, Statements},
        caller::OperatorCaller,
    },
    http, worker,
};
use uuid::Uuid;

pub use carrier::WatchedCarrier;
pub use clock::{NOON, StepClock};
pub use cut::Cut;
pub use log::{Log, log_to};
pub use postgres::PASSWORD_ROLE;
pub use program::{Running, demo};
pub use request::{Answer, UNKNOWN_IDS, doubling, encoded, get, inbound, post, sha256_hex, text};
pub use run::{Apps, run_test};
pub use sender::SENDER;
pub use socket::{Received, Socket};
pub use team::{TestSubAccount, TestTeam};

use run::Started;

/// The database that a test uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

pub use Database::{Postgres, Sqlite};

/// The settings of an app under test.
#[derive(Clone)]
pub struct Setup {
    pub has_carriers: bool,
    /// Billing statements that replace the program's statements, to plant a fault.
    pub statements: Option<Statements>,
    /// Whether the replaced statements make balances or totals wrong. If so, the check at the end of the test is
    /// omitted.
    pub has_wrong_totals: bool,
    pub http: http::Settings,
    /// The deadline of a writer's batch on PostgreSQL, if it differs from the default.
    pub batch_deadline: Option<Duration>,
    pub row_security: RowSecurity,
    /// Rewrites the SQL of each statement that reads data.
    pub rewrite_sql: Option<fn(&str) -> String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            has_carriers: true,
            statements: None,
            has_wrong_totals: false,
            http: http::Settings::default(),
            batch_deadline: None,
            // Row security has no effect on SQLite.
            row_security: RowSecurity::On,
            rewrite_sql: None,
        }
    }
}

impl Setup {
    /// Returns the settings of an app that connects as the owner of the tables. Only the owner can revert migrations.
    pub fn of_owner() -> Self {
        Self { row_security: RowSecurity::Off, ..Self::default() }
    }
}

pub struct TestApp {
    pub app: Arc<App>,
    pub clock: Arc<StepClock>,
    pub carrier: Arc<WatchedCarrier>,
    /// An operator's key.
    pub operator: String,
    pub url: String,
    /// A connection as the owner of the tables. Row security does not apply to this connection.
    owner: DatabaseConnection,
    router: Router,
    key_uses: Mutex<mpsc::Receiver<Uuid>>,
    /// The number of statements that were run on write connections.
    write_statements: Arc<AtomicUsize>,
    folder: Arc<tempfile::TempDir>,
    has_wrong_totals: bool,
    is_closed: AtomicBool,
    started: Weak<Started>,
}

impl TestApp {
    /// Starts another process with the same database, clock and carrier.
    pub async fn beside(&self, setup: Setup) -> Arc<Self> {
        self.beside_at(self.url.clone(), setup).await
    }

    /// Starts another process that connects to the same PostgreSQL server through this proxy.
    pub async fn behind(&self, cut: &Cut) -> Arc<Self> {
        let address = format!("127.0.0.1:{}", cut.port);
        let url = self.url.replacen(&self.postgres_address(), &address, 1);
        self.beside_at(url, Setup::default()).await
    }

    /// Starts another process that connects to the same database with this URL.
    pub async fn beside_at(&self, url: String, setup: Setup) -> Arc<Self> {
        let started = self.started.upgrade().expect("the test runs");
        let (clock, carrier) = (Arc::clone(&self.clock), Arc::clone(&self.carrier));
        let folder = Arc::clone(&self.folder);
        let mut other = Self::open(&started, url, clock, carrier, setup, folder).await;
        other.operator.clone_from(&self.operator);
        started.add(other)
    }

    /// Returns the processes for a concurrency test: this process and, on PostgreSQL, a second one. Only one process
    /// can use an SQLite database.
    pub async fn processes(self: &Arc<Self>, setup: Setup) -> Vec<Arc<Self>> {
        let mut processes = vec![Arc::clone(self)];
        if self.app.db.backend() == DbBackend::Postgres {
            processes.push(self.beside(setup).await);
        }
        processes
    }

    /// Returns the folder of the SQLite database. The folder is deleted when the last reference to it is dropped.
    pub fn folder(&self) -> Arc<tempfile::TempDir> {
        Arc::clone(&self.folder)
    }

    /// Returns the port of the PostgreSQL server.
    pub fn postgres_port(&self) -> u16 {
        let address = self.postgres_address();
        let port = address.rsplit_once(':').map_or("5432", |(_, port)| port);
        port.parse().expect("a port")
    }

    /// Returns the host and port of the PostgreSQL server, as in the URL.
    fn postgres_address(&self) -> String {
        let (_, rest) = self.url.split_once("://").expect("a URL");
        let (authority, _) = rest.split_once('/').expect("a database's name");
        authority.rsplit_once('@').map_or(authority, |(_, address)| address).to_owned()
    }

    async fn start(started: &Arc<Started>, database: Database, setup: Setup) -> Arc<Self> {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let url = match database {
            Sqlite => sqlite_url(folder.path()),
            Postgres => postgres::new_database().await,
        };
        let clock = Arc::new(StepClock::at_noon());
        let mut t = Self::open(started, url, clock, Arc::default(), setup, folder).await;
        let operator = OperatorCaller::on_the_command_line();
        let new = NewApiKey {
            name: "Test".to_owned(),
            environment: entity::api_key::Environment::Live,
            expires_at: None,
        };
        let made = api_key::create_for_operator(&t.app, &operator, new).await;
        let (_, operator) = made.expect("an operator's key");
        operator.reveal().clone_into(&mut t.operator);
        started.add(t)
    }

    async fn open(
        started: &Arc<Started>,
        url: String,
        clock: Arc<StepClock>,
        carrier: Arc<WatchedCarrier>,
        setup: Setup,
        folder: Arc<tempfile::TempDir>,
    ) -> Self {
        let db = Db::connect_with(&url, 8, setup.row_security).await;
        let mut db = db.expect("the database opens");
        if db.backend() == DbBackend::Sqlite {
            db.migrate().await.expect("the migrations run");
        }
        if let Some(rewrite_sql) = setup.rewrite_sql {
            db.read = db.read.with_sql_rewriter(rewrite_sql);
        }
        db.batch_deadline = setup.batch_deadline.unwrap_or(db.batch_deadline);
        let write_statements = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&write_statements);
        db.write.set_metric_callback(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let carriers = if setup.has_carriers {
            Carriers::all(&(Arc::clone(&carrier) as Arc<dyn Carrier>))
        } else {
            Carriers::none()
        };
        assert!(!setup.has_wrong_totals || setup.statements.is_some(), "a planted fault");
        let money = setup.statements.unwrap_or_else(|| Statements::of(db.backend()));
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        let (app, key_uses) = App::with_statements(db, time, carriers, money);
        let router = http::router(
            Arc::clone(&app),
            setup.http,
            CancellationToken::new(),
            TaskTracker::new(),
        )
        .await;
        let owner = if app.db.backend() == DbBackend::Sqlite {
            app.db.write.clone()
        } else {
            let mut options = ConnectOptions::new(&url);
            options.max_connections(2).sqlx_logging(false).connect_lazy(true);
            sea_orm::Database::connect(options).await.expect("nothing is opened yet")
        };
        Self {
            app,
            clock,
            carrier,
            operator: String::new(),
            url,
            owner,
            router,
            key_uses: Mutex::new(key_uses),
            write_statements,
            folder,
            has_wrong_totals: setup.has_wrong_totals,
            is_closed: AtomicBool::new(false),
            started: Arc::downgrade(started),
        }
    }

    /// Delivers the messages that are due within an hour, checks balances and totals, and closes the database. At the
    /// end of each test, this method is called for every app that is not closed yet.
    pub async fn close(&self) {
        if self.is_closed.swap(true, Ordering::Relaxed) {
            return;
        }
        if !self.has_wrong_totals {
            self.step(TimeDelta::hours(1));
            self.deliver().await;
            self.note_key_uses().await;
            self.assert_reconciled().await;
        }
        let _ = self.owner.clone().close().await;
        let _ = self.app.db.close().await;
    }

    /// Asserts that balances and totals agree with the ledger.
    pub async fn assert_reconciled(&self) {
        let found = billing::reconciliation::run(&self.app).await.expect("the reconciliation runs");
        assert_eq!(found.drifts, [], "balances or totals contradict the ledger");
    }

    /// Stores the last use of each key, as the worker does.
    pub async fn note_key_uses(&self) {
        worker::note_key_uses(&self.app, &mut *self.key_uses.lock().await).await;
    }
}

pub fn sqlite_url(folder: &Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("test.db").display())
}
