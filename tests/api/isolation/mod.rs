//! Isolation: data of another team, another account or the other environment is neither returned nor changed. On
//! PostgreSQL each test runs twice: with row security alone, and with both row security and the owner filters of the
//! statements.

mod arguments;
mod ids;
mod lists;

use std::sync::Arc;

use serde_json::json;
use tollgate::{db::RowSecurity, domain::audit_log::refusals::WINDOW, http};

use crate::{
    db::row_security::{OF_ACCOUNTS, OF_TEAMS},
    harness::{
        Apps, Database, Setup, Sqlite, TestApp, TestSubAccount, TestTeam, UNKNOWN_IDS, text,
    },
};

/// The mechanisms that separate the accounts: the owner filters of the statements, row security, or both.
#[derive(Clone, Copy)]
struct Protection {
    row_security: RowSecurity,
    rewrite_sql: Option<fn(&str) -> String>,
}

const SQLITE: Protection = Protection { row_security: RowSecurity::Off, rewrite_sql: None };

const POSTGRES: Protection = Protection { row_security: RowSecurity::On, rewrite_sql: None };

/// Only row security separates the accounts.
const UNFILTERED: Protection = Protection { rewrite_sql: Some(without_owners), ..POSTGRES };

impl Protection {
    /// Returns the protections that the tests check on a database.
    fn of(database: Database) -> &'static [Self] {
        if database == Sqlite { &[SQLITE] } else { &[POSTGRES, UNFILTERED] }
    }

    /// Returns the settings of an app with this protection and without rate limits.
    fn setup(self) -> Setup {
        let Self { row_security, rewrite_sql, .. } = self;
        let http = http::Settings { key_rate: 0, account_rate: 0, ..http::Settings::default() };
        Setup { http, row_security, rewrite_sql, ..Setup::default() }
    }

    async fn start(self, apps: &Apps) -> Arc<TestApp> {
        apps.start_with(self.setup()).await
    }
}

/// Rewrites a statement so that its owner filters match all rows.
fn without_owners(sql: &str) -> String {
    let of_accounts = OF_ACCOUNTS.map(|table| format!("\"{table}\".\"account_id\""));
    let of_teams = OF_TEAMS.into_iter().chain(["account"]);
    let of_teams = of_teams.map(|table| format!("\"{table}\".\"team_id\""));
    let mut sql = sql.to_owned();
    for owner in of_accounts.into_iter().chain(of_teams) {
        // The statement must still use each parameter, and an id is never an empty string.
        sql = sql.replace(&format!("{owner} = $"), "'' <> '' || $");
        for filter in ["=", "IN"] {
            let filter = format!("{owner} {filter} ");
            assert!(!sql.contains(&filter), "a filter that this test does not know: {sql}");
        }
    }
    sql
}

/// A team with two sub-accounts. Each account has sent one LIVE message, and has one contact, opt-out, phone number,
/// template and sender.
struct TeamData {
    team: TestTeam,
    subs: [TestSubAccount; 2],
    /// The data of the main account and of the two sub-accounts.
    accounts: [AccountData; 3],
}

/// The ids of an account's data.
struct AccountData {
    message: String,
    contact: String,
    address: String,
    number: String,
    template: String,
    sender: String,
}

impl AccountData {
    fn ids(&self) -> [String; 6] {
        let Self { message, contact, address, number, template, sender } = self;
        [message, contact, address, number, template, sender].map(String::clone)
    }
}

async fn send(t: &TestApp, key: &str, to: &str) -> String {
    let answer = t.send(key, json!({ "to": to, "text": "Hello" })).await;
    text(&answer.data()["sendMessage"]["message"]["id"])
}

async fn account_data(t: &TestApp, key: &str, to: &str) -> AccountData {
    let message = send(t, key, to).await;
    let (contact, addresses) = t.contact(key, &[to]).await;
    t.opt_out(key, "+12025550170").await;
    // The phone number is free, so only messages cost money.
    let number = 5_550_100 + t.number("SELECT COUNT(*) FROM inventory_number").await;
    let number = format!("+1202{number}");
    t.stock(&format!("{number},US,LOCAL,SMS,0,0\n")).await;
    let bought = t.purchase(key, json!({ "number": number })).await;
    let bodies = json!([{ "channel": "SMS", "text": "Hi" }]);
    AccountData {
        message,
        contact,
        address: addresses[0].clone(),
        number: text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]),
        template: t.template(key, bodies, json!([])).await,
        sender: t.sender(key, json!({ "name": "Acme", "telegram": "acme_bot" })).await,
    }
}

async fn team_data(t: &TestApp, name: &str) -> TeamData {
    let team = t.team(1000).await;
    let first = json!({ "name": name, "externalId": format!("{name}-1") });
    let second = json!({ "name": name, "externalId": format!("{name}-2") });
    let subs = [t.sub_account(&team, first).await, t.sub_account(&team, second).await];
    let accounts = [
        account_data(t, &team.key, "+12025550120").await,
        account_data(t, &subs[0].key, "+12025550121").await,
        account_data(t, &subs[1].key, "+12025550122").await,
    ];
    TeamData { team, subs, accounts }
}

/// Text that identifies no object or is not a valid id.
const ODD: [&str; 7] = [UNKNOWN_IDS[1], "", " ", "null", "\0", "%", "' OR 1 = 1 --"];

/// Asserts that the response for each of these ids is the same as for an id that does not exist, that both need the
/// same number of statements, and that nothing changes.
async fn assert_unknown(t: &TestApp, key: &str, query: &str, ids: &[String]) {
    let body = |id: &str| json!({ "query": query, "variables": { "id": id } }).to_string();
    let before = t.everything().await;
    let ask = async |id: &str| {
        t.forget();
        // Only the first refusal of a kind within this time is entered in the audit log. This step makes each refusal
        // the first.
        t.step(WINDOW);
        let begun = t.statements();
        (t.raw(key, body(id)).await, t.statements() - begun)
    };
    let unknown = ask(UNKNOWN_IDS[0]).await;
    for id in ids {
        assert_eq!(ask(id).await, unknown, "{query} with {id:?}");
    }
    for id in ODD {
        assert_eq!(ask(id).await.0, unknown.0, "{query} with {id:?}");
    }
    assert_eq!(t.everything().await, before, "{query}");
}
