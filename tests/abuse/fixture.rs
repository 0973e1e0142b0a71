//! The fixture of a test: a database, a server, the attacker's team and the probe's team. The fixture runs attacks and
//! checks their effects.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::sleep,
};

use crate::{
    Database,
    attack::Attack,
    client::Client,
    eventually,
    figures::{Row, milliseconds},
    folder::Folder,
    postgres::{DEFAULT, Postgres},
    probe::{self, Sample, WAIT_MAX},
    process::Process,
    report, scale,
    server::{Launch, Server, audit, create_team},
};

/// Maximum memory of the server during an attack, in MB.
const MEMORY_MAX_MB: f64 = 200.0;
/// The server is killed when it uses more memory than this, in MB, to protect the machine.
const MEMORY_END_MB: f64 = 1_000.0;
/// How often memory is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a restarted server may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long the probe continues after an attack.
const TAIL: Duration = Duration::from_millis(300);
/// Maximum time to wait for the server to become idle before the next attack.
const IDLE_WITHIN: Duration = Duration::from_secs(3);

/// A lock that allows only one test to run at a time, because concurrent attacks would influence each other's times.
static SERIAL: Mutex<()> = Mutex::const_new(());

// Fields are dropped in this order: the processes must end before their folder is removed, and the lock is
// released last.
pub struct Fixture {
    pub server: Server,
    pub url: String,
    _postgres: Option<Postgres>,
    pub folder: Folder,
    database: Database,
    /// The key of the attacker's main account.
    pub attacker: String,
    /// The key of the probe's main account.
    pub probe: String,
    failures: Vec<String>,
    _serial: MutexGuard<'static, ()>,
}

/// A sub-account of the attacker's team, with its keys.
pub struct SubAccount {
    pub id: String,
    pub live: String,
    pub test: String,
}

impl Fixture {
    pub async fn start(database: Database) -> Self {
        let serial = SERIAL.lock().await;
        let folder = Folder::new();
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => {
                Some(Postgres::start(&folder.path, folder.path.join("data"), None, DEFAULT).await)
            }
        };
        let url = match &postgres {
            Some(postgres) => postgres.url(),
            None => tollgate::db::sqlite_url(&folder.path.join("tollgate.db")),
        };
        let launch = Launch { folder: folder.path.clone(), url: url.clone(), connections: 8 };
        let server = Server::start(launch).await;
        let attacker = create_team(&folder.path, &url, "Attacker");
        let probe = create_team(&folder.path, &url, "Probe");
        Self {
            server,
            url,
            _postgres: postgres,
            folder,
            database,
            attacker,
            probe,
            failures: Vec::new(),
            _serial: serial,
        }
    }

    /// Sends a request that must succeed, and returns its data.
    pub async fn ask(&self, key: &str, query: &str, variables: Value) -> Value {
        let answer = Client::new(self.server.address).graphql(key, query, &variables).await;
        let answer = answer.expect("a response");
        let mut json = answer.json();
        assert!(json["errors"].is_null() && json["data"].is_object(), "{}", answer.body);
        json["data"].take()
    }

    /// Creates a sub-account of the attacker's team.
    pub async fn sub_account(&self) -> SubAccount {
        let create = "mutation { createSubAccount(input: { name: \"Client\" }) \
                      { account { id } plainKey } }";
        let made = self.ask(&self.attacker, create, json!({})).await;
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let made = &made["createSubAccount"];
        let id = text(&made["account"]["id"]);
        let test = self.new_key(&self.attacker, &id, "TEST").await;
        SubAccount { id, live: text(&made["plainKey"]), test }
    }

    /// Creates a key for an account. `main` is the key of the main account.
    pub async fn new_key(&self, main: &str, account_id: &str, environment: &str) -> String {
        let create = "mutation($id: ID!, $environment: Environment!) \
            { createApiKey(account: { id: $id }, input: { name: \"Key\", environment: $environment }) \
            { plainKey } }";
        let variables = json!({ "id": account_id, "environment": environment });
        let made = self.ask(main, create, variables).await;
        made["createApiKey"]["plainKey"].as_str().expect("a key").to_owned()
    }

    /// Records a failure. The test continues, so that the other attacks run too.
    pub fn fail(&mut self, what: impl AsRef<str>) {
        report(&format!("FAILED, {:?}: {}", self.database, what.as_ref()));
        self.failures.push(what.as_ref().to_owned());
    }

    /// Records a failure if requests of a probe were refused or took too long.
    pub fn check_probe(&mut self, attack: &str, samples: &[Sample]) {
        let refusals =
            samples.iter().filter_map(|sample| Some((sample.what, sample.refused.as_ref()?)));
        let refusals: Vec<_> = refusals.collect();
        if let [(what, first), ..] = refusals[..] {
            let first: String = first.chars().take(200).collect();
            self.fail(format!("{attack}: {} refused, first a {what}: {first}", refusals.len()));
        }
        let slowest = samples.iter().max_by_key(|sample| sample.took);
        if let Some(slow) = slowest.filter(|sample| sample.took > WAIT_MAX) {
            self.fail(format!("{attack}: a {} took {}", slow.what, milliseconds(slow.took)));
        }
    }

    /// Runs an attack and the probe at the same time, prints the result, and records failures.
    ///
    /// If an attack never gets one of the `expected` responses, a failure is recorded, because the attack had no
    /// effect. After a failure, the server is restarted, so that attacks are independent.
    pub async fn attack(
        &mut self,
        name: &str,
        expected: &[&str],
        begin: impl AsyncFnOnce(&mut Attack),
    ) {
        let failures = self.failures.len();
        Process(self.server.process()).wait_until_idle(IDLE_WITHIN).await;
        let quiet = self.probe_for(scale(Duration::from_millis(500), Duration::from_secs(3))).await;
        let process = Process(self.server.process());
        process.reset_peak();

        let probe = probe::sends_and_reads(self.server.address, &self.probe);
        let mut attack = Attack::new(self.server.address);
        let mut ended = tokio::select! {
            () = begin(&mut attack) => None,
            ended = end_of(&mut self.server) => Some(ended),
        };
        attack.stop().await;
        if ended.is_none() {
            sleep(TAIL).await;
        }
        let peak_mb = process.peak_mb();
        if let Some(status) = self.server.ended().filter(|_| ended.is_none()) {
            ended = Some(format!("ended by {status}"));
        }
        let during = probe.stop().await;

        let refused = during.iter().filter(|sample| sample.refused.is_some()).count();
        let (quiet, times) = (probe::times(&quiet), probe::times(&during));
        Row {
            attack: name,
            database: self.database,
            quiet: &quiet,
            during: &times,
            refused,
            peak_mb,
            ended: ended.as_deref(),
        }
        .print();
        report(&format!("  responses to the attack: {}", attack.tally.summary()));
        if !attack.tally.has_any(expected) {
            self.fail(format!("{name}: the attack got none of the responses {expected:?}"));
        }
        if let Some(peak) = peak_mb.filter(|peak| *peak > MEMORY_MAX_MB) {
            self.fail(format!("{name}: the server took {peak:.0} MB"));
        }
        match ended {
            Some(ended) => self.fail(format!("{name}: the process {ended}")),
            None => self.check_probe(name, &during),
        }
        if self.failures.len() > failures {
            self.start_again().await;
        }
    }

    async fn probe_for(&self, time: Duration) -> Vec<Sample> {
        let probe = probe::sends_and_reads(self.server.address, &self.probe);
        sleep(time).await;
        probe.stop().await
    }

    /// Restarts the server, even if the server process has already ended.
    pub async fn start_again(&mut self) {
        self.server.kill();
        self.server.start_again();
        let is_ready = async || self.server.is_ready().await;
        eventually(READY_WITHIN, "the server is ready again", is_ready).await;
    }

    /// Runs the reconciliation, and fails if any failure was recorded.
    pub async fn finish(mut self) {
        if let Some(status) = self.server.ended() {
            self.fail(format!("the process ended by {status}"));
        }
        audit(&self.folder.path, &self.url);
        let panics = self.server.log().matches("A thread panicked").count();
        if panics > 0 {
            self.fail(format!("the server caught {panics} panics"));
        }
        let failures = std::mem::take(&mut self.failures);
        let first: Vec<_> = failures.iter().take(10).map(String::as_str).collect();
        assert!(
            failures.is_empty(),
            "{:?}: {} failures, the first are\n{}",
            self.database,
            failures.len(),
            first.join("\n")
        );
    }
}

/// Waits until the server process ends, or kills the process if it uses too much memory. Returns why the process ended.
async fn end_of(server: &mut Server) -> String {
    loop {
        sleep(POLL_INTERVAL).await;
        if let Some(status) = server.ended() {
            return format!("ended by {status}");
        }
        let held = Process(server.process()).held_mb();
        if let Some(held) = held.filter(|held| *held > MEMORY_END_MB) {
            server.kill();
            return format!("was killed by the suite at {held:.0} MB");
        }
    }
}
