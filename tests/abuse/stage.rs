//! What a test stands on: a database, a server, the team of the attack and the team of the probe; and how an
//! attack is tried and judged.

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
    postgres::{Postgres, USUAL},
    probe::{self, Sample, WAIT_MAX},
    process::Process,
    say, scale,
    server::{Launch, Server, audit, create_team},
};

/// Memory that the server may take during an attack.
const MEMORY_MAX_MB: f64 = 200.0;
/// A server that takes so much is ended: the machine has other work.
const MEMORY_END_MB: f64 = 1_000.0;
/// How often memory is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How long a server that was started again may take.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long the probe goes on after an attack.
const TAIL: Duration = Duration::from_millis(300);
/// How long the server may go on working after an attack, until it is tried with another.
const REST_WITHIN: Duration = Duration::from_secs(3);

/// Attacks take turns, for the machine is one.
static TURN: Mutex<()> = Mutex::const_new(());

// The order in which they go: what works in the folder before the folder, and the turn at last.
pub struct Stage {
    pub server: Server,
    pub url: String,
    _postgres: Option<Postgres>,
    pub folder: Folder,
    database: Database,
    /// The key of the attack's main account.
    pub attacker: String,
    /// The key of the probe's main account.
    pub probe: String,
    failures: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

/// A sub-account of the attack's team.
pub struct SubAccount {
    pub id: String,
    pub live: String,
    pub test: String,
}

impl Stage {
    pub async fn start(database: Database) -> Self {
        let turn = TURN.lock().await;
        let folder = Folder::new();
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => {
                Some(Postgres::start(&folder.path, folder.path.join("data"), None, USUAL).await)
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
            _turn: turn,
        }
    }

    /// Asks something that must be answered, and gives the data.
    pub async fn ask(&self, key: &str, query: &str, variables: Value) -> Value {
        let answer = Client::new(self.server.address).graphql(key, query, &variables).await;
        let answer = answer.expect("an answer");
        let mut json = answer.json();
        assert!(json["errors"].is_null() && json["data"].is_object(), "{}", answer.body);
        json["data"].take()
    }

    /// Makes a sub-account of the attack's team.
    pub async fn sub_account(&self) -> SubAccount {
        let create = "mutation { createSubAccount(input: { name: \"Client\" }) \
                      { account { id } plainKey } }";
        let made = self.ask(&self.attacker, create, json!({})).await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let made = &made["createSubAccount"];
        let id = text(&made["account"]["id"]);
        let test = self.new_key(&self.attacker, &id, "TEST").await;
        SubAccount { id, live: text(&made["plainKey"]), test }
    }

    /// Makes another key of an account, by its main account's.
    pub async fn new_key(&self, main: &str, account_id: &str, environment: &str) -> String {
        let create = "mutation($id: ID!, $environment: Environment!) \
            { createApiKey(account: { id: $id }, input: { name: \"Key\", environment: $environment }) \
            { plainKey } }";
        let variables = json!({ "id": account_id, "environment": environment });
        let made = self.ask(main, create, variables).await;
        made["createApiKey"]["plainKey"].as_str().expect("a key").to_owned()
    }

    /// Notes something that must not be; the test goes on, so that the other attacks are seen too.
    pub fn fails(&mut self, what: impl AsRef<str>) {
        say(&format!("FAILED, {:?}: {}", self.database, what.as_ref()));
        self.failures.push(what.as_ref().to_owned());
    }

    /// Fails if the requests of a probe were refused or took too long.
    pub fn judge(&mut self, attack: &str, samples: &[Sample]) {
        let refusals =
            samples.iter().filter_map(|sample| Some((sample.what, sample.refused.as_ref()?)));
        let refusals: Vec<_> = refusals.collect();
        if let [(what, first), ..] = refusals[..] {
            let first: String = first.chars().take(200).collect();
            self.fails(format!("{attack}: {} refused, first a {what}: {first}", refusals.len()));
        }
        let slowest = samples.iter().max_by_key(|sample| sample.took);
        if let Some(slow) = slowest.filter(|sample| sample.took > WAIT_MAX) {
            self.fails(format!("{attack}: a {} took {}", slow.what, milliseconds(slow.took)));
        }
    }

    /// Tries an attack beside the probe, prints what became of that, and notes what must not be: also if it never got
    /// one of the `expected` answers, for then it was not tried. The server is started again after a failure, so that
    /// each attack is tried on its own.
    pub async fn attack(
        &mut self,
        name: &str,
        expected: &[&str],
        begin: impl AsyncFnOnce(&mut Attack),
    ) {
        let failures = self.failures.len();
        Process(self.server.process()).rests(REST_WITHIN).await;
        let quiet = self.probe_for(scale(Duration::from_millis(500), Duration::from_secs(3))).await;
        let process = Process(self.server.process());
        process.forget_peak();

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
        say(&format!("  the attack got {}", attack.tally.summary()));
        if !attack.tally.has_any(expected) {
            self.fails(format!("{name}: the attack got none of the answers {expected:?}"));
        }
        if let Some(peak) = peak_mb.filter(|peak| *peak > MEMORY_MAX_MB) {
            self.fails(format!("{name}: the server took {peak:.0} MB"));
        }
        match ended {
            Some(ended) => self.fails(format!("{name}: the process {ended}")),
            None => self.judge(name, &during),
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

    /// Starts the server again, whether or not it has ended.
    pub async fn start_again(&mut self) {
        self.server.kill();
        self.server.start_again();
        let is_ready = async || self.server.is_ready().await;
        eventually(READY_WITHIN, "the server is ready again", is_ready).await;
    }

    /// Audits the books, and fails if anything was noted.
    pub async fn finish(mut self) {
        if let Some(status) = self.server.ended() {
            self.fails(format!("the process ended by {status}"));
        }
        audit(&self.folder.path, &self.url);
        let panics = self.server.log().matches("A thread panicked").count();
        if panics > 0 {
            self.fails(format!("the server caught {panics} panics"));
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

/// Waits until the process ends, or takes so much memory that it is ended, and says which.
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
