//! The app under test: its own database, a clock that only tests move, a carrier that records what
//! it was handed, and the real router. Fixtures are made through the API.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Body, http::Request};
use chrono::{DateTime, TimeDelta, Utc};
use entity::message;
use http_body_util::BodyExt as _;
use sea_orm::{ConnectOptions, DatabaseConnection, DbBackend};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::{
    app::App,
    carrier::{Carrier, Carriers, Report, SendError, sandbox::Sandbox},
    clock::{Clock, IdOrder},
    db::{Db, RowSecurity},
    domain::{
        api_key::{self, NewApiKey},
        billing::{self, Statements},
        caller::OperatorCaller,
        message::backlog,
        phone_number::{self, inventory_import},
    },
    http, worker,
};
use tower::ServiceExt as _;
use uuid::Uuid;

mod cut;
mod log;
mod postgres;
mod program;
mod request;
mod rows;
mod socket;

pub use cut::Cut;
pub use log::{Log, hear};
pub use postgres::ASKED_FOR_PASSWORDS;
pub use program::{Running, demo};
pub use request::{Answer, NOBODYS_IDS, doubling, encoded, get, post, sha256_hex, text};
pub use socket::{Came, Socket};

/// What a sender shows of itself.
pub const SENDER: &str = "{ id name isDefault channels email emailName whatsapp telegram \
                          createdAt updatedAt }";

/// The databases that every test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

pub use Database::{Postgres, Sqlite};

/// Noon of a Monday in the middle of a month, so that days and months are easy to step over.
pub const NOON: &str = "2026-03-16T12:00:00Z";

/// A clock that stands still until a test moves it.
pub struct StepClock(Mutex<DateTime<Utc>>, IdOrder);

impl Clock for StepClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().expect("no test panics with the clock in its hand")
    }

    fn ids(&self) -> &IdOrder {
        &self.1
    }
}

/// The sandbox, watched: records every hand-over, and can fall silent.
#[derive(Default)]
pub struct WatchedCarrier {
    pub sent: Mutex<Vec<Uuid>>,
    /// What each hand-over was to come from.
    pub sent_from: Mutex<Vec<Option<String>>>,
    /// The last message, as it was handed over.
    pub last: Mutex<Option<message::Model>>,
    /// Whether a second hand-over is said to reach a person twice.
    pub reaches_people: AtomicBool,
}

#[async_trait]
impl Carrier for WatchedCarrier {
    async fn send(&self, message: &message::Model) -> Result<(), SendError> {
        self.sent.lock().expect("no test panics with the record in its hand").push(message.id);
        let from = message.sent_from.clone();
        self.sent_from.lock().expect("no test panics with the record in its hand").push(from);
        *self.last.lock().expect("no test panics with the record in its hand") =
            Some(message.clone());
        Sandbox.send(message).await
    }

    async fn report(&self, message: &message::Model) -> Report {
        Sandbox.report(message).await
    }

    fn may_repeat(&self) -> bool {
        !self.reaches_people.load(Ordering::Relaxed)
    }
}

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

/// A server on a port.
pub struct Served {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A team made by [`TestApp::team`].
#[derive(Clone)]
pub struct TestTeam {
    pub id: String,
    pub main_account_id: String,
    /// The main account's LIVE key.
    pub key: String,
}

/// A sub-account made by [`TestApp::sub_account`].
#[derive(Clone)]
pub struct TestSubAccount {
    pub id: String,
    /// Its LIVE key.
    pub key: String,
    pub key_id: String,
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
        let clock = StepClock(Mutex::new(NOON.parse().expect("a time")), IdOrder::new());
        let clock = Arc::new(clock);
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

    /// Serves on a port of its own; ends with what is returned.
    pub async fn serve(&self) -> Served {
        self.serve_with(http::Settings::default()).await
    }

    /// The same with other settings.
    pub async fn serve_with(&self, settings: http::Settings) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (stop, app) = (CancellationToken::new(), Arc::clone(&self.app));
        let served = http::serve(listener, app, settings, stop.clone());
        let task = tokio::spawn(served);
        Served { address, stop, task }
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

    /// Moves the clock on.
    pub fn step(&self, by: TimeDelta) {
        *self.clock.0.lock().expect("no test panics with the clock in its hand") += by;
    }

    /// Works off and delivers and reports until nothing more is due; time moves on between the steps.
    pub async fn deliver(&self) {
        for _ in 0..100 {
            let stepped = self.work_off().await;
            let delivered = worker::deliver_due(&self.app).await.expect("the worker delivers");
            self.step(TimeDelta::seconds(1));
            let reported = worker::deliver_due(&self.app).await.expect("the worker delivers");
            if stepped + delivered.messages + reported.messages == 0 {
                return;
            }
        }
        panic!("messages are due for ever");
    }

    /// Does what changes of accounts have left to be done with their messages, as the worker does, and says
    /// in how many steps.
    pub async fn work_off(&self) -> usize {
        let mut position = backlog::BacklogPosition::default();
        let mut steps = 0;
        while backlog::step(&self.app, &mut position).await.expect("the step is done") {
            steps += 1;
            assert!(steps < 10_000, "there is something to be done for ever");
        }
        steps
    }

    /// Notes the key uses that wait to be noted, as the worker does.
    pub async fn note_key_uses(&mut self) {
        worker::note_key_uses(&self.app, &mut self.key_uses).await;
    }

    /// Sends any request to the router.
    pub async fn request(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("the router answers");
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.expect("the answer has an end").to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        let body = text.parse().unwrap_or_else(|_| Value::String(text.into_owned()));
        Answer { status: head.status, headers: head.headers, body }
    }

    /// The text of an answer, byte by byte.
    pub async fn raw(&self, key: &str, body: String) -> String {
        let response =
            self.router.clone().oneshot(post(key, body)).await.expect("the router answers");
        let bytes = response.into_body().collect().await.expect("the answer has an end").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8")
    }

    /// Asks with a key.
    pub async fn ask(&self, key: &str, query: &str) -> Answer {
        self.ask_with(key, query, json!({})).await
    }

    /// Asks with a key and variables.
    pub async fn ask_with(&self, key: &str, query: &str, variables: Value) -> Answer {
        let body = json!({ "query": query, "variables": variables }).to_string();
        self.request(post(key, body)).await
    }

    /// A team with this balance, made and topped up by the operator.
    pub async fn team(&self, balance_cents: i64) -> TestTeam {
        let answer = self
            .ask(
                &self.operator,
                "mutation { createTeam(input: { name: \"Acme\" }) \
                 { team { id } mainAccount { id } plainKey errors { code } } }",
            )
            .await;
        let made = &answer.data()["createTeam"];
        let team = TestTeam {
            id: text(&made["team"]["id"]),
            main_account_id: text(&made["mainAccount"]["id"]),
            key: text(&made["plainKey"]),
        };
        if balance_cents > 0 {
            let answer = self.top_up(&team, json!(balance_cents), "opening").await;
            assert_eq!(answer.refusals(), [""; 0]);
        }
        team
    }

    pub async fn top_up(&self, team: &TestTeam, amount: Value, idempotency_key: &str) -> Answer {
        self.ask_with(
            &self.operator,
            "mutation($input: TopUpTeamInput!) { topUpTeam(input: $input) \
             { team { balance } entry { id amount balanceAfter } replayed errors { code field } } }",
            json!({ "input": {
                "teamId": team.id, "amount": amount, "idempotencyKey": idempotency_key,
            } }),
        )
        .await
    }

    /// A sub-account of the team; `input` is merged into `{ name: "Client" }`.
    pub async fn sub_account(&self, team: &TestTeam, input: Value) -> TestSubAccount {
        let mut whole = json!({ "name": "Client" });
        for (name, value) in input.as_object().expect("an input object") {
            whole[name] = value.clone();
        }
        let answer = self.create_sub_account(&team.key, whole).await;
        assert_eq!(answer.refusals(), [""; 0]);
        let made = &answer.data()["createSubAccount"];
        TestSubAccount {
            id: text(&made["account"]["id"]),
            key: text(&made["plainKey"]),
            key_id: text(&made["apiKey"]["id"]),
        }
    }

    pub async fn create_sub_account(&self, key: &str, input: Value) -> Answer {
        self.ask_with(
            key,
            "mutation($input: CreateSubAccountInput!) { createSubAccount(input: $input) { \
             account { id name status creditLimit totalSpent externalId metadata teamBalanceVisible } \
             apiKey { id prefix lastFour environment name } plainKey errors { code message field } } }",
            json!({ "input": input }),
        )
        .await
    }

    /// What `/metrics` tells.
    pub async fn metrics(&self) -> String {
        let request = Request::get("/metrics").body(Body::empty()).expect("a request");
        let router = http::ops::metrics::router(self.app.clone());
        let response = router.oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(body.to_vec()).expect("text")
    }

    /// A new key of an account of the team.
    pub async fn api_key(&self, team: &TestTeam, account_id: &str, environment: &str) -> String {
        let answer = self
            .ask_with(
                &team.key,
                "mutation($id: ID!, $environment: Environment) { createApiKey(account: { id: $id }, \
                 input: { name: \"Another\", environment: $environment }) \
                 { plainKey errors { code } } }",
                json!({ "id": account_id, "environment": environment }),
            )
            .await;
        text(&answer.data()["createApiKey"]["plainKey"])
    }

    /// Sends one message; `input` as `SendMessageInput`.
    pub async fn send(&self, key: &str, input: Value) -> Answer {
        self.ask_with(
            key,
            "mutation($input: SendMessageInput!) { sendMessage(input: $input) { \
             message { id status cost segments to channel environment } replayed \
             errors { code message field } } }",
            json!({ "input": input }),
        )
        .await
    }

    /// Sends so many messages of one segment, each as `input` has it besides.
    pub async fn send_many(&self, key: &str, count: usize, input: Value) {
        let query = "mutation($input: [SendMessageInput!]!) { sendMessages(input: $input) \
                     { errors { code } } }";
        let mut message = json!({ "to": "+12025550123", "text": "Hello" });
        for (name, value) in input.as_object().expect("an input object") {
            message[name] = value.clone();
        }
        let mut left = count;
        while left > 0 {
            let input = vec![message.clone(); left.min(100)];
            left -= input.len();
            let answer = self.ask_with(key, query, json!({ "input": input })).await;
            let payloads = answer.data()["sendMessages"].as_array().expect("a list");
            assert!(payloads.iter().all(|one| one["errors"] == json!([])), "{}", answer.body);
        }
    }

    /// Makes a contact; `input` as `CreateContactInput`.
    pub async fn create_contact(&self, key: &str, input: Value) -> Answer {
        self.ask_with(
            key,
            "mutation($input: CreateContactInput!) { createContact(input: $input) { contact { \
             id displayName locale timeZone tags metadata createdAt updatedAt \
             addresses { id channel address label isPrimary } } errors { code message field } } }",
            json!({ "input": input }),
        )
        .await
    }

    /// A contact with these addresses: its id and theirs, by channel.
    pub async fn contact(&self, key: &str, addresses: &[&str]) -> (String, Vec<String>) {
        let addresses: Vec<Value> =
            addresses.iter().map(|address| json!({ "address": address })).collect();
        let answer = self.create_contact(key, json!({ "addresses": addresses })).await;
        let made = &answer.data()["createContact"]["contact"];
        let addresses = made["addresses"].as_array().expect("a contact's addresses");
        (text(&made["id"]), addresses.iter().map(|address| text(&address["id"])).collect())
    }

    /// Makes a sender; `input` is merged into `{ name: "Sender" }`.
    pub async fn create_sender(&self, key: &str, input: Value) -> Answer {
        let mut whole = json!({ "name": "Sender" });
        for (name, value) in input.as_object().expect("an input object") {
            whole[name] = value.clone();
        }
        let query = format!(
            "mutation($input: CreateSenderInput!) {{ createSender(input: $input) \
             {{ sender {SENDER} errors {{ code message field }} }} }}"
        );
        self.ask_with(key, &query, json!({ "input": whole })).await
    }

    /// The id of a sender that is made.
    pub async fn sender(&self, key: &str, input: Value) -> String {
        let answer = self.create_sender(key, input).await;
        assert_eq!(answer.refusals(), [""; 0]);
        text(&answer.data()["createSender"]["sender"]["id"])
    }

    /// A template with these bodies and variables: its id.
    pub async fn template(&self, key: &str, bodies: Value, variables: Value) -> String {
        let query = "mutation($input: CreateTemplateInput!) { createTemplate(input: $input) \
                     { template { id } errors { code message } } }";
        let input = json!({ "name": "Template", "bodies": bodies, "variables": variables });
        let answer = self.ask_with(key, query, json!({ "input": input })).await;
        assert_eq!(answer.refusals(), [""; 0], "{}", answer.body);
        text(&answer.data()["createTemplate"]["template"]["id"])
    }

    /// Opts an address out of the messages of a key's account.
    pub async fn opt_out(&self, key: &str, address: &str) {
        let query = "mutation($input: AddOptOutInput!) { addOptOut(input: $input) \
                     { optOut { id } errors { code } } }";
        let answer = self.ask_with(key, query, json!({ "input": { "address": address } })).await;
        assert_eq!(answer.refusals(), [""; 0]);
    }

    /// Puts numbers in stock: lines of number, country, type, capabilities, upfront and monthly
    /// cents.
    pub async fn stock(&self, lines: &str) {
        let file = format!("{}\n{lines}", inventory_import::COLUMNS.join(","));
        let rows = inventory_import::read_csv(file.as_bytes()).expect("a list of numbers");
        let diff = inventory_import::diff(&self.app, rows).await.expect("the inventory is read");
        let operator = OperatorCaller::on_the_command_line();
        inventory_import::commit(&self.app, &operator, diff).await.expect("they are in stock");
    }

    /// Buys a number; `input` as `PurchasePhoneNumberInput`.
    pub async fn purchase(&self, key: &str, input: Value) -> Answer {
        self.ask_with(
            key,
            "mutation($input: PurchasePhoneNumberInput!) { purchasePhoneNumber(input: $input) { \
             phoneNumber { id number country type capabilities name status upfrontPrice \
             monthlyPrice renewsAt releasesAt releasedAt } replayed errors { code message field } } }",
            json!({ "input": input }),
        )
        .await
    }

    /// A number of a key's account, for a cent a month: its id.
    pub async fn phone_number(&self, key: &str, number: &str) -> String {
        self.stock(&format!("{number},US,LOCAL,SMS,0,1\n")).await;
        let answer = self.purchase(key, json!({ "number": number })).await;
        assert_eq!(answer.refusals(), [""; 0]);
        text(&answer.data()["purchasePhoneNumber"]["phoneNumber"]["id"])
    }

    /// Sees to every number that is due, as the worker does.
    pub async fn renew(&self) {
        let mut place = None;
        loop {
            place = phone_number::renewal::renew(&self.app, place).await.expect("it looks");
            if place.is_none() {
                return;
            }
        }
    }

    /// Sends a one-segment SMS and says whether it was accepted.
    pub async fn sends(&self, key: &str) -> bool {
        let answer = self.send(key, json!({ "to": "+12025550123", "text": "Hello" })).await;
        answer.refusals().is_empty()
    }
}

pub fn sqlite_url(folder: &Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("test.db").display())
}
