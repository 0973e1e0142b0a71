//! The app under test: its own database, a clock that only tests move, a carrier that records what
//! it was handed, and the real router. Fixtures are made through the API.

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
mod sender;
mod serve;
mod socket;
mod team;
mod template;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use chrono::TimeDelta;
use sea_orm::{ConnectOptions, DatabaseConnection, DbBackend};
use tokio::sync::mpsc;
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
pub use log::{Log, hear};
pub use postgres::ASKED_FOR_PASSWORDS;
pub use program::{Running, demo};
pub use request::{Answer, NOBODYS_IDS, doubling, encoded, get, post, sha256_hex, text};
pub use sender::SENDER;
pub use socket::{Came, Socket};
pub use team::{TestSubAccount, TestTeam};

/// The databases that every test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

pub use Database::{Postgres, Sqlite};

/// How an app under test differs from the usual one.
#[derive(Clone)]
pub struct Setup {
    pub has_carriers: bool,
    /// Other statements for money than the program's own: a planted fault.
    pub texts: Option<Statements>,
    pub http: http::Settings,
    /// How long a writer's batch may take on `PostgreSQL`, if not as long as usual.
    pub batch_deadline: Option<Duration>,
    pub row_security: RowSecurity,
    /// Other words for the statements that are read with.
    pub rewrite_sql: Option<fn(&str) -> String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            has_carriers: true,
            texts: None,
            http: http::Settings::default(),
            batch_deadline: None,
            // On `SQLite` it means nothing.
            row_security: RowSecurity::On,
            rewrite_sql: None,
        }
    }
}

impl Setup {
    /// As who owns the tables, and so may migrate them down.
    pub fn of_owner() -> Self {
        Self { row_security: RowSecurity::Off, ..Self::default() }
    }
}

pub struct TestApp {
    pub app: Arc<App>,
    pub clock: Arc<StepClock>,
    pub carrier: Arc<WatchedCarrier>,
    /// A key of who runs the server.
    pub operator: String,
    pub url: String,
    /// For whoever owns the tables, past the program.
    owner: DatabaseConnection,
    router: Router,
    key_uses: mpsc::Receiver<Uuid>,
    /// Those of the pool that writes.
    statements: Arc<AtomicUsize>,
    /// Deleted with the test.
    folder: Arc<tempfile::TempDir>,
}

impl TestApp {
    /// A fresh app.
    pub async fn start(database: Database) -> Self {
        Self::start_with(database, Setup::default()).await
    }

    pub async fn start_with(database: Database, setup: Setup) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let url = match database {
            Sqlite => sqlite_url(folder.path()),
            Postgres => postgres::new_database().await,
        };
        let clock = Arc::new(StepClock::at_noon());
        let mut t = Self::open(url, clock, Arc::default(), setup, folder).await;
        let operator = OperatorCaller::on_the_command_line();
        let new = NewApiKey {
            name: "Test".to_owned(),
            environment: entity::api_key::Environment::Live,
            expires_at: None,
        };
        let made = api_key::create_for_operator(&t.app, &operator, new).await;
        let (_, operator) = made.expect("an operator's key");
        operator.reveal().clone_into(&mut t.operator);
        t
    }

    /// Another process on the same database, with the same time and carrier.
    pub async fn beside(&self, setup: Setup) -> Self {
        self.beside_at(self.url.clone(), setup).await
    }

    /// Another process that reaches the same `PostgreSQL` by way of this proxy.
    pub async fn behind(&self, cut: &Cut) -> Self {
        let address = format!("127.0.0.1:{}", cut.port);
        let url = self.url.replacen(&self.postgres_address(), &address, 1);
        self.beside_at(url, Setup::default()).await
    }

    /// Where the files of the `SQLite` database are; deleted when nobody has it any more.
    pub fn folder(&self) -> Arc<tempfile::TempDir> {
        Arc::clone(&self.folder)
    }

    /// The port of the `PostgreSQL` server.
    pub fn postgres_port(&self) -> u16 {
        let address = self.postgres_address();
        let port = address.rsplit_once(':').map_or("5432", |(_, port)| port);
        port.parse().expect("a port")
    }

    /// Host and port, as they stand in the URL.
    fn postgres_address(&self) -> String {
        let (_, rest) = self.url.split_once("://").expect("a URL");
        let (authority, _) = rest.split_once('/').expect("a database's name");
        authority.rsplit_once('@').map_or(authority, |(_, address)| address).to_owned()
    }

    /// Another process that reaches the same database by this URL.
    pub async fn beside_at(&self, url: String, setup: Setup) -> Self {
        let (clock, carrier) = (Arc::clone(&self.clock), Arc::clone(&self.carrier));
        let folder = Arc::clone(&self.folder);
        let mut other = Self::open(url, clock, carrier, setup, folder).await;
        other.operator.clone_from(&self.operator);
        other
    }

    async fn open(
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
        let statements = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&statements);
        db.write.set_metric_callback(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let carriers = if setup.has_carriers {
            Carriers::all(&(Arc::clone(&carrier) as Arc<dyn Carrier>))
        } else {
            Carriers::none()
        };
        let texts = setup.texts.unwrap_or_else(|| Statements::of(db.backend()));
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        let (app, key_uses) = App::with_statements(db, time, carriers, texts);
        let router = http::router(
            Arc::clone(&app),
            setup.http,
            CancellationToken::new(),
            TaskTracker::new(),
        )
        .await;
        let operator = String::new();
        let owner = if app.db.backend() == DbBackend::Sqlite {
            app.db.write.clone()
        } else {
            let mut options = ConnectOptions::new(&url);
            options.max_connections(2).sqlx_logging(false).connect_lazy(true);
            sea_orm::Database::connect(options).await.expect("nothing is opened yet")
        };
        Self { app, clock, carrier, operator, url, owner, router, key_uses, statements, folder }
    }

    /// Delivers whatever is due, also in the hours to come, then audits the books.
    pub async fn close(mut self) {
        self.step(TimeDelta::hours(1));
        self.deliver().await;
        worker::note_key_uses(&self.app, &mut self.key_uses).await;
        self.assert_books_are_clean().await;
        let _ = self.owner.close().await;
        let _ = self.app.db.close().await;
    }

    pub async fn assert_books_are_clean(&self) {
        let audit = billing::reconciliation::run(&self.app).await.expect("the audit runs");
        assert_eq!(audit.drifts, [], "the books contradict themselves");
    }

    /// Notes the key uses that wait to be noted, as the worker does.
    pub async fn note_key_uses(&mut self) {
        worker::note_key_uses(&self.app, &mut self.key_uses).await;
    }
}

pub fn sqlite_url(folder: &Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("test.db").display())
}
