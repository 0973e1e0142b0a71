//! Isolation: data of another team, another account or the other environment is neither returned nor changed.
//! On PostgreSQL each test runs twice: with row security alone, and with row security and the owner filters of the
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
        Apps, Database, NOBODYS_IDS, Setup, Sqlite, TestApp, TestSubAccount, TestTeam, text,
    },
};

/// What keeps accounts apart: the filters of the statements, row security, or both.
#[derive(Clone, Copy)]
struct Walls {
    row_security: RowSecurity,
    rewrite_sql: Option<fn(&str) -> String>,
}

const SQLITE: Walls = Walls { row_security: RowSecurity::Off, rewrite_sql: None };

const POSTGRES: Walls = Walls { row_security: RowSecurity::On, rewrite_sql: None };

/// Row security alone.
const UNFILTERED: Walls = Walls { rewrite_sql: Some(without_owners), ..POSTGRES };

impl Walls {
    /// Each way that there is on a database.
    fn of(database: Database) -> &'static [Self] {
        if database == Sqlite { &[SQLITE] } else { &[POSTGRES, UNFILTERED] }
    }

    /// A server that takes as many questions as there are.
    fn setup(self) -> Setup {
        let Self { row_security, rewrite_sql, .. } = self;
        let http = http::Settings { key_rate: 0, account_rate: 0, ..http::Settings::default() };
        Setup { http, row_security, rewrite_sql, ..Setup::default() }
    }

    async fn start(self, apps: &Apps) -> Arc<TestApp> {
        apps.start_with(self.setup()).await
    }
}

/// The statement without its filters by owner: they let all rows through.
fn without_owners(sql: &str) -> String {
    let of_accounts = OF_ACCOUNTS.map(|table| format!("\"{table}\".\"account_id\""));
    let of_teams = OF_TEAMS.into_iter().chain(["account"]);
    let of_teams = of_teams.map(|table| format!("\"{table}\".\"team_id\""));
    let mut sql = sql.to_owned();
    for owner in of_accounts.into_iter().chain(of_teams) {
        // A parameter must be used; no id is an empty text.
        sql = sql.replace(&format!("{owner} = $"), "'' <> '' || $");
        for filter in ["=", "IN"] {
            let filter = format!("{owner} {filter} ");
            assert!(!sql.contains(&filter), "a filter in words that are not known here: {sql}");
        }
    }
    sql
}

/// A team with two sub-accounts; each account sent one LIVE message and has one of everything else.
struct House {
    team: TestTeam,
    subs: [TestSubAccount; 2],
    /// What the main account, the first and the second sub-account have.
    things: [Things; 3],
}

/// Ids of what an account has.
struct Things {
    message: String,
    contact: String,
    address: String,
    number: String,
    template: String,
    sender: String,
}

impl Things {
    fn ids(&self) -> [String; 6] {
        let Self { message, contact, address, number, template, sender } = self;
        [message, contact, address, number, template, sender].map(String::clone)
    }
}

async fn send(t: &TestApp, key: &str, to: &str) -> String {
    let answer = t.send(key, json!({ "to": to, "text": "Hello" })).await;
    text(&answer.data()["sendMessage"]["message"]["id"])
}

async fn things(t: &TestApp, key: &str, to: &str) -> Things {
    let message = send(t, key, to).await;
    let (contact, addresses) = t.contact(key, &[to]).await;
    t.opt_out(key, "+12025550170").await;
    // It costs nothing, so that money is of messages alone.
    let number = 5_550_100 + t.number("SELECT COUNT(*) FROM inventory_number").await;
    let number = format!("+1202{number}");
    t.stock(&format!("{number},US,LOCAL,SMS,0,0\n")).await;
    let bought = t.purchase(key, json!({ "number": number })).await;
    let bodies = json!([{ "channel": "SMS", "text": "Hi" }]);
    Things {
        message,
        contact,
        address: addresses[0].clone(),
        number: text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]),
        template: t.template(key, bodies, json!([])).await,
        sender: t.sender(key, json!({ "name": "Acme", "telegram": "acme_bot" })).await,
    }
}

async fn house(t: &TestApp, name: &str) -> House {
    let team = t.team(1000).await;
    let first = json!({ "name": name, "externalId": format!("{name}-1") });
    let second = json!({ "name": name, "externalId": format!("{name}-2") });
    let subs = [t.sub_account(&team, first).await, t.sub_account(&team, second).await];
    let things = [
        things(t, &team.key, "+12025550120").await,
        things(t, &subs[0].key, "+12025550121").await,
        things(t, &subs[1].key, "+12025550122").await,
    ];
    House { team, subs, things }
}

/// Whatever names nothing, or could not be an id.
const ODD: [&str; 7] = [NOBODYS_IDS[1], "", " ", "null", "\0", "%", "' OR 1 = 1 --"];

/// Asks with each of these and expects, to the byte, the answer that nobody's id gets, after as many statements,
/// and nothing changed.
async fn assert_unknown(t: &TestApp, key: &str, query: &str, ids: &[String]) {
    let body = |id: &str| json!({ "query": query, "variables": { "id": id } }).to_string();
    let before = t.everything().await;
    let ask = async |id: &str| {
        t.forget();
        // So that each refusal is the first of its kind, and is entered in the audit log.
        t.step(WINDOW);
        let begun = t.statements();
        (t.raw(key, body(id)).await, t.statements() - begun)
    };
    let nobodys = ask(NOBODYS_IDS[0]).await;
    for id in ids {
        assert_eq!(ask(id).await, nobodys, "{query} with {id:?}");
    }
    for id in ODD {
        assert_eq!(ask(id).await.0, nobodys.0, "{query} with {id:?}");
    }
    assert_eq!(t.everything().await, before, "{query}");
}
