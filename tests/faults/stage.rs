//! What a test stands on: a folder, a database, a server, two teams with a sub-account each, and the
//! checks that every test ends with.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use crate::{
    Database, books,
    client::Client,
    eventually,
    folder::Folder,
    load::{Journal, Load, RECIPIENT, Send, TEXT_MARK},
    postgres::{Postgres, SMALL_SEGMENTS},
    server::{Launch, Server, audit, create_team},
};

/// The bound: ready again so long after the database is back, or after the server's start.
pub const READY_WITHIN: Duration = Duration::from_secs(5);

// The order in which they go: who works in the folder before the folder.
pub struct Stage {
    pub server: Server,
    pub postgres: Option<Postgres>,
    /// Of the database itself, whatever stands between it and the server.
    pub url: String,
    /// Of two main accounts and two sub-accounts.
    pub keys: Vec<Arc<str>>,
    pub folder: Folder,
    sent: usize,
}

impl Stage {
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
        Self::stand(folder, postgres, url.clone(), url, connections).await
    }

    /// With a database that stands, and a server that reaches it by another URL.
    pub async fn stand(
        folder: Folder,
        postgres: Option<Postgres>,
        url: String,
        servers_url: String,
        connections: u32,
    ) -> Self {
        let launch = Launch { folder: folder.path.clone(), url: servers_url, connections };
        let server = Server::start(launch).await;
        let mut stage = Self { server, postgres, url, keys: Vec::new(), folder, sent: 0 };
        for name in ["First", "Second"] {
            stage.add_team(name).await;
        }
        stage
    }

    async fn add_team(&mut self, name: &str) {
        let main = create_team(&self.folder.path, &self.url, name);
        let create = "mutation($input: CreateSubAccountInput!) \
                      { createSubAccount(input: $input) { plainKey errors { code } } }";
        let answer = Client::new(self.server.address)
            .graphql(&main, create, &json!({ "input": { "name": "Client" } }))
            .await
            .expect("an answer");
        let made = answer.json();
        let sub = made["data"]["createSubAccount"]["plainKey"].as_str().expect("a key").to_owned();
        self.keys.extend([main.into(), sub.into()]);
    }

    pub fn load(&self, name: &str, senders: usize) -> Load {
        Load::start(self.server.address, &self.keys, name, senders, 20)
    }

    /// A send under a new key.
    pub fn new_send(&mut self) -> Send {
        self.sent += 1;
        Send {
            api_key: Arc::clone(&self.keys[self.sent % self.keys.len()]),
            name: format!("single-{}", self.sent),
            is_keyed: true,
            text_chars: 20,
        }
    }

    /// Whether a read is answered.
    pub async fn reads(&self) -> bool {
        let query = "{ balance { balance } messages(first: 1) { nodes { id } } }";
        let answer =
            Client::new(self.server.address).graphql(&self.keys[0], query, &json!({})).await;
        answer.is_ok_and(|answer| answer.status == 200 && answer.code().is_none())
    }

    /// Waits until the server is ready, and reads and sends as well, and says how long that took.
    pub async fn is_whole_again(&mut self, journal: &mut Journal, what: &str) -> Duration {
        let send = self.new_send();
        eventually(READY_WITHIN, what, async || {
            if !self.server.is_ready().await || !self.reads().await {
                return false;
            }
            let attempt = send.clone().by(&mut Client::new(self.server.address)).await;
            let is_acknowledged = attempt.outcome.is_acknowledged();
            journal.note(vec![attempt]);
            is_acknowledged
        })
        .await
    }

    /// The audit, by the command.
    pub fn audit(&self) {
        audit(&self.folder.path, &self.url);
    }

    /// Sends again whatever was not yet, and checks the books and the log; returns how many messages
    /// there are.
    pub async fn check(&mut self, journal: &mut Journal) -> usize {
        journal.retry(self.server.address).await;
        let messages = books::check(&self.url, journal).await;
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
