//! The fixture of a test: a folder, a database, a server, two teams with a sub-account each, and the checks
//! at the end of every test.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use crate::{
    Database,
    client::Client,
    consistency, eventually,
    folder::Folder,
    load::{Journal, Load, RECIPIENT, Send, TEXT_MARK},
    postgres::{Postgres, SMALL_SEGMENTS},
    server::{Launch, Server, audit, create_team},
};

/// How long the server may take to be ready after its start, or after the database is available again.
pub const READY_WITHIN: Duration = Duration::from_secs(5);

// Fields are dropped in this order: the processes must end before their folder is removed.
pub struct Fixture {
    pub server: Server,
    pub postgres: Option<Postgres>,
    /// The URL of the database itself, without the proxy.
    pub url: String,
    /// API keys of two main accounts and two sub-accounts.
    pub keys: Vec<Arc<str>>,
    pub folder: Folder,
    sent: usize,
}

impl Fixture {
    pub async fn start(database: Database) -> Self {
        Self::start_with(database, 8).await
    }

    pub async fn start_with(database: Database, connections: u32) -> Self {
        let folder = Folder::new();
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => {
                let data = folder.path.join("data");
                Some(Postgres::start(&folder.path, data, None, SMALL_SEGMENTS).await)
            }
        };
        let url = match &postgres {
            Some(postgres) => postgres.url(),
            None => tollgate::db::sqlite_url(&folder.path.join("tollgate.db")),
        };
        Self::with_database(folder, postgres, url.clone(), url, connections).await
    }

    /// Starts a server on an existing database. The server connects to `servers_url`, which may be the URL of a proxy.
    pub async fn with_database(
        folder: Folder,
        postgres: Option<Postgres>,
        url: String,
        servers_url: String,
        connections: u32,
    ) -> Self {
        let launch = Launch { folder: folder.path.clone(), url: servers_url, connections };
        let server = Server::start(launch).await;
        let mut fixture = Self { server, postgres, url, keys: Vec::new(), folder, sent: 0 };
        for name in ["First", "Second"] {
            fixture.add_team(name).await;
        }
        fixture
    }

    async fn add_team(&mut self, name: &str) {
        let main = create_team(&self.folder.path, &self.url, name);
        let create = "mutation($input: CreateSubAccountInput!) \
                      { createSubAccount(input: $input) { plainKey errors { code } } }";
        let answer = Client::new(self.server.address)
            .graphql(&main, create, &json!({ "input": { "name": "Client" } }))
            .await
            .expect("a response");
        let made = answer.json();
        let sub = made["data"]["createSubAccount"]["plainKey"].as_str().expect("a key").to_owned();
        self.keys.extend([main.into(), sub.into()]);
    }

    pub fn load(&self, name: &str, senders: usize) -> Load {
        Load::start(self.server.address, &self.keys, name, senders, 20)
    }

    /// Returns a new send with an idempotency key.
    pub fn new_send(&mut self) -> Send {
        self.sent += 1;
        Send {
            api_key: Arc::clone(&self.keys[self.sent % self.keys.len()]),
            name: format!("single-{}", self.sent),
            is_keyed: true,
            text_chars: 20,
        }
    }

    /// Returns whether a read succeeds.
    pub async fn reads(&self) -> bool {
        let query = "{ balance { balance } messages(first: 1) { nodes { id } } }";
        let answer =
            Client::new(self.server.address).graphql(&self.keys[0], query, &json!({})).await;
        answer.is_ok_and(|answer| answer.status == 200 && answer.code().is_none())
    }

    /// Waits until the server is ready and reads and sends succeed. Returns how long that took.
    pub async fn wait_for_recovery(&mut self, journal: &mut Journal, what: &str) -> Duration {
        let send = self.new_send();
        eventually(READY_WITHIN, what, async || {
            if !self.server.is_ready().await || !self.reads().await {
                return false;
            }
            let attempt = send.clone().send_with(&mut Client::new(self.server.address)).await;
            let is_acknowledged = attempt.outcome.is_acknowledged();
            journal.note(vec![attempt]);
            is_acknowledged
        })
        .await
    }

    /// Runs the reconciliation.
    pub fn audit(&self) {
        audit(&self.folder.path, &self.url);
    }

    /// Retries sends, and checks the database, the reconciliation and the log. Returns the number of messages.
    pub async fn check(&mut self, journal: &mut Journal) -> usize {
        journal.retry(self.server.address).await;
        let messages = consistency::check(&self.url, journal).await;
        self.audit();
        assert_eq!(self.server.ended(), None, "the server runs");
        let log = self.server.log();
        let digits = RECIPIENT.trim_start_matches('+');
        for secret in self.keys.iter().map(AsRef::as_ref).chain([TEXT_MARK, digits]) {
            assert!(!log.contains(secret), "a secret was logged");
        }
        assert!(!log.contains("panicked at"), "the server panicked");
        messages
    }
}
