//! Isolation: what belongs to another team, a sibling or another environment is neither returned nor
//! changed, and what names it is answered exactly as what names nothing.

mod arguments;

use db_test::{db_test, needs_postgres};
use serde_json::{Value, json};
use tollgate::{db::RowSecurity, domain::audit_log::refusals::WINDOW, http};

use crate::{
    db::row_security::{OF_ACCOUNTS, OF_TEAMS},
    harness::{
        Database, NOBODYS_IDS, Postgres, Setup, Sqlite, TestApp, TestSubAccount, TestTeam, text,
    },
};
use arguments::{LISTS, document, rows};

/// What keeps accounts apart: the filters of the statements, row security, or both.
#[derive(Clone, Copy)]
struct Walls {
    database: Database,
    row_security: RowSecurity,
    rewrite_sql: Option<fn(&str) -> String>,
}

const SQLITE: Walls = Walls { database: Sqlite, row_security: RowSecurity::Off, rewrite_sql: None };
const POSTGRES: Walls =
    Walls { database: Postgres, row_security: RowSecurity::On, rewrite_sql: None };
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

    async fn start(self) -> TestApp {
        TestApp::start_with(self.database, self.setup()).await
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

async fn own_key_id(t: &TestApp, key: &str) -> String {
    text(&t.ask(key, "{ viewer { apiKey { id } } }").await.data()["viewer"]["apiKey"]["id"])
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

/// What a key asks with: ids of what is not its own, and other accounts' externalIds.
struct Foreign {
    ids: Vec<String>,
    external_ids: &'static [&'static str],
}

/// Asks every row with all that is foreign to the caller, whose own things stand for `OWN_…`.
async fn assert_all_unknown(
    t: &TestApp,
    key: &str,
    rows: &[(String, String)],
    (house, at): (&House, usize),
    foreign: &Foreign,
) {
    let external_ids: Vec<String> =
        foreign.external_ids.iter().map(|id| (*id).to_owned()).collect();
    let own = &house.things[at];
    for (path, call) in rows {
        let query = document(path, call)
            .replace("OWN_CONTACT", &own.contact)
            .replace("OWN_ADDRESS", &own.address)
            .replace("OWN_SENDER", &own.sender)
            .replace("OWN_NUMBER", &own.number)
            .replace("OWN_TEMPLATE", &own.template)
            .replace("OWN_ACCOUNT", &house.subs[0].id);
        let asked = if path.ends_with(".externalId)") { &external_ids } else { &foreign.ids };
        assert_unknown(t, key, &query, asked).await;
    }
}

/// Ids of a house's own kind: of its team, of its main account and first sub-account, and of all that they
/// have.
async fn ids_of(t: &TestApp, house: &House) -> Vec<String> {
    let (team, sub) = (&house.team, &house.subs[0]);
    let mut ids = vec![team.id.clone(), team.main_account_id.clone(), sub.id.clone()];
    ids.extend([sub.key_id.clone(), own_key_id(t, &team.key).await]);
    ids.extend(house.things[..2].iter().flat_map(Things::ids));
    let ledger = t.ask(&team.key, "{ ledger(first: 1) { nodes { id } } }").await;
    ids.push(text(&ledger.data()["ledger"]["nodes"][0]["id"]));
    ids
}

/// Ids of what the account had and deleted.
async fn deleted(t: &TestApp, key: &str) -> Vec<String> {
    let gone = things(t, key, "+12025550129").await;
    t.deliver().await;
    let Things { contact, template, sender, number, .. } = &gone;
    let mutation = format!(
        "mutation {{ deleteContact(id: \"{contact}\") {{ errors {{ code }} }} \
         deleteTemplate(id: \"{template}\") {{ errors {{ code }} }} \
         deleteSender(id: \"{sender}\") {{ errors {{ code }} }} \
         releasePhoneNumber(id: \"{number}\") {{ errors {{ code }} }} }}"
    );
    let done = t.ask(key, &mutation).await;
    assert!(done.body["errors"].is_null() && done.refusals().is_empty(), "{}", done.body);
    vec![gone.contact, gone.address, gone.template, gone.sender]
}

/// C1, C6, R2, R3: whatever a key names that is not its own is nobody's to it: a sibling's, the main
/// account's, another team's and what is deleted.
#[db_test]
#[tokio::test]
async fn what_is_anothers_is_nobodys(database: Database, #[values(false, true)] is_managing: bool) {
    let rows = &rows(is_managing);
    for walls in Walls::of(database) {
        let t = walls.start().await;
        let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);
        t.deliver().await;
        let deleted = deleted(&t, &own.subs[0].key).await;
        let of_foreign = ids_of(&t, &foreign).await;
        let operators = own_key_id(&t, &t.operator).await;

        let mut of_sub = [of_foreign.clone(), deleted.clone()].concat();
        of_sub.extend([own.team.id.clone(), own.team.main_account_id.clone()]);
        of_sub.extend([own.subs[1].id.clone(), own.subs[1].key_id.clone()]);
        of_sub.extend([0, 2].into_iter().flat_map(|at| own.things[at].ids()));
        let of_sub = Foreign { ids: of_sub, external_ids: &["own-1", "own-2", "foreign-1"] };
        assert_all_unknown(&t, &own.subs[0].key, rows, (&own, 1), &of_sub).await;

        // It manages its sub-accounts, their keys and where their numbers are, and has nothing else of theirs.
        let mut of_main =
            [of_foreign, deleted.clone(), vec![operators, own.team.id.clone()]].concat();
        for Things { message, contact, address, number, template, sender } in &own.things[1..] {
            of_main.extend([message, contact, address, template, sender].map(String::clone));
            if !is_managing {
                of_main.push(number.clone());
            }
        }
        let external_ids = &["foreign-1", "foreign-2", "own-3", "OWN-1"];
        let of_main = Foreign { ids: of_main, external_ids };
        assert_all_unknown(&t, &own.team.key, rows, (&own, 0), &of_main).await;

        let of_stranger = [ids_of(&t, &own).await, deleted].concat();
        let of_stranger = Foreign { ids: of_stranger, external_ids: &["own-1", "own-2"] };
        assert_all_unknown(&t, &foreign.team.key, rows, (&foreign, 0), &of_stranger).await;
        t.close().await;
    }
}

/// A revoked key, and whoever has none, are told nothing of what they name.
#[db_test]
#[tokio::test]
async fn without_a_key_everything_is_nobodys(database: Database) {
    for walls in Walls::of(database) {
        let t = walls.start().await;
        let own = house(&t, "own").await;
        let revoked = t.api_key(&own.team, &own.subs[0].id, "LIVE").await;
        let id = own_key_id(&t, &revoked).await;
        let revoke = "mutation($id: ID!) { revokeApiKey(id: $id) { errors { code } } }";
        assert!(t.ask_with(&own.team.key, revoke, json!({ "id": id })).await.refusals().is_empty());
        let before = t.everything().await;

        for key in [revoked.as_str(), "", "tg_live_sub_nobodys"] {
            // One that has not seen many wrong keys yet.
            let server = t.beside(walls.setup()).await;
            let nobodys = server.ask(key, "{ viewer { role } }").await;
            assert_eq!((nobodys.status.as_u16(), nobodys.codes()), (401, vec!["UNAUTHENTICATED"]));
            let ids = [&own.things[1].contact, &own.subs[0].id, NOBODYS_IDS[0]];
            let rows = [false, true].into_iter().flat_map(rows);
            for ((path, call), id) in rows.zip(ids.into_iter().cycle()) {
                let answer =
                    server.ask_with(key, &document(&path, &call), json!({ "id": id })).await;
                assert_eq!(answer.body, nobodys.body, "{path} with {id:?}");
            }
        }
        assert_eq!(t.everything().await, before);
        t.close().await;
    }
}

/// What each list shows is the caller's own, also after a cursor of somebody else's list, and before one.
#[db_test]
#[tokio::test]
async fn anothers_cursor_shows_what_is_ones_own(database: Database) {
    for walls in Walls::of(database) {
        let t = walls.start().await;
        let (own, foreign) = (house(&t, "own").await, house(&t, "foreign").await);
        let keys = [&own.subs[0].key, &own.subs[1].key, &own.team.key, &foreign.team.key];

        for (path, call) in LISTS {
            let ask = async |key: &str, page: &str| {
                let query =
                    call.replace("PAGE", page).replace("LIST", "edges { cursor node { id } }");
                t.ask(key, &format!("{{ {query} }}")).await
            };
            let mut lists = Vec::new();
            for key in keys {
                lists.push((key, edges(&ask(key, "first: 100").await.body["data"])));
            }
            for (key, list) in &lists {
                let cursors = lists.iter().flat_map(|(_, other)| other);
                for (cursor, _) in cursors {
                    for (page, from) in [("after", "first"), ("before", "last")] {
                        let page = format!("{page}: \"{cursor}\", {from}: 100");
                        for (_, id) in edges(&ask(key, &page).await.body["data"]) {
                            assert!(list.iter().any(|(_, own)| *own == id), "{path}: {id}");
                        }
                    }
                }
            }
            if *path != "Query.teams" {
                assert!(lists.iter().any(|(_, list)| !list.is_empty()), "{path} shows something");
            }
            // The ledger and the audit log tell a main account of its sub-accounts; all else is one account's.
            let [(_, one), (_, other), ..] = &lists[..] else { panic!("four lists") };
            assert!(one.iter().all(|(_, id)| other.iter().all(|(_, same)| same != id)), "{path}");
        }
        t.close().await;
    }
}

/// The cursors and ids of the list in an answer; none where it was refused.
fn edges(data: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![data];
    while let Some(value) = open.pop() {
        let Value::Object(fields) = value else { continue };
        match fields.get("edges") {
            Some(edges) => {
                let edges = edges.as_array().expect("a list of edges");
                let edge = |edge: &Value| (text(&edge["cursor"]), text(&edge["node"]["id"]));
                found.extend(edges.iter().map(edge));
            }
            None => open.extend(fields.values()),
        }
    }
    found
}

/// R3: what an account has is listed to it and to nobody else.
#[db_test]
#[tokio::test]
async fn each_account_lists_its_own_things(database: Database) {
    for walls in Walls::of(database) {
        let t = walls.start().await;
        let own = house(&t, "own").await;
        house(&t, "foreign").await;

        let query = "{ contacts { totalCount nodes { id addresses { id } } } \
                 phoneNumbers { totalCount nodes { id } } templates { totalCount nodes { id } } \
                 senders { totalCount nodes { id } } optOuts { totalCount } }";
        for (at, key) in [&own.team.key, &own.subs[0].key, &own.subs[1].key].into_iter().enumerate()
        {
            let Things { contact, address, number, template, sender, .. } = &own.things[at];
            let one = |node: Value| json!({ "totalCount": 1, "nodes": [node] });
            let expected = json!({
                "contacts": one(json!({ "id": contact, "addresses": [{ "id": address }] })),
                "phoneNumbers": one(json!({ "id": number })),
                "templates": one(json!({ "id": template })),
                "senders": one(json!({ "id": sender })),
                "optOuts": { "totalCount": 1 },
            });
            assert_eq!(*t.ask(key, query).await.data(), expected);
        }
        t.close().await;
    }
}

/// So the filters are really gone where [`UNFILTERED`] proves that row security does without them.
#[needs_postgres]
#[tokio::test]
async fn without_either_wall_each_lists_everybodys_things() {
    let t = Walls { row_security: RowSecurity::Off, ..UNFILTERED }.start().await;
    let own = house(&t, "own").await;
    house(&t, "foreign").await;

    let query = "query($id: ID!) { message(id: $id) { to } messages { totalCount } contacts { totalCount } \
                 phoneNumbers { totalCount } templates { totalCount } senders { totalCount } \
                 optOuts { totalCount } }";
    let id = json!({ "id": own.things[2].message });
    let answer = t.ask_with(&own.subs[0].key, query, id).await;
    let all = json!({ "totalCount": 6 });
    let expected = json!({
        "message": { "to": "+12025550122" }, "messages": all, "contacts": all, "phoneNumbers": all,
        "templates": all, "senders": all, "optOuts": all,
    });
    assert_eq!(*answer.data(), expected);
    let query = "{ subAccounts { totalCount } ledger { totalCount } }";
    let expected = json!({ "subAccounts": { "totalCount": 4 }, "ledger": { "totalCount": 8 } });
    assert_eq!(*t.ask(&own.team.key, query).await.data(), expected);
    t.close().await;
}

/// R3: a text of somebody else's is found by nobody else.
#[db_test]
#[tokio::test]
async fn anothers_texts_find_nothing(database: Database) {
    for walls in Walls::of(database) {
        let t = walls.start().await;
        let own = house(&t, "own").await;

        for (key, texts) in [
            (&own.team.key, ["+12025550121", "+12025550122"]),
            (&own.subs[0].key, ["+12025550120", "+12025550122"]),
        ] {
            for list in ["messages(filter: { to: $id })", "contacts(filter: { search: $id })"] {
                let query =
                    format!("query($id: String!) {{ {list} {{ totalCount nodes {{ id }} }} }}");
                let texts = texts.map(str::to_owned);
                let before = t.everything().await;
                let nobodys = t.ask_with(key, &query, json!({ "id": "+12025550199" })).await;
                for text in texts {
                    let found = t.ask_with(key, &query, json!({ "id": text })).await;
                    assert_eq!(found.body, nobodys.body, "{list} with {text:?}");
                }
                assert_eq!(t.everything().await, before);
            }
        }
        t.close().await;
    }
}

/// C1, C6, C16, C18, R3: messages, ledger, usage and totals of a sub-account are its own.
#[db_test]
#[tokio::test]
async fn each_sub_account_sees_its_own_work_only(database: Database) {
    for walls in Walls::of(database) {
        let t = walls.start().await;
        t.set_sms_price(10_000).await;
        let house = house(&t, "own").await;
        send(&t, &house.subs[1].key, "+12025550123").await;
        let query = "{ messages { totalCount nodes { to } } ledger { totalCount nodes { account { id } } } \
                 account { id totalSpent usage { totals { messages spent } } } }";

        for (sub, to) in [
            (&house.subs[0], vec!["+12025550121"]),
            (&house.subs[1], vec!["+12025550123", "+12025550122"]),
        ] {
            let count = to.len();
            let messages: Vec<Value> = to.iter().map(|to| json!({ "to": to })).collect();
            let entries = vec![json!({ "account": { "id": sub.id } }); count];
            let usage = json!({ "totals": { "messages": count, "spent": count } });
            let expected = json!({
                "messages": { "totalCount": count, "nodes": messages },
                "ledger": { "totalCount": count, "nodes": entries },
                "account": { "id": sub.id, "totalSpent": count, "usage": usage },
            });
            assert_eq!(*t.ask(&sub.key, query).await.data(), expected);
        }
        t.close().await;
    }
}

/// C11, R3: the main account sees of a sub-account its money, not its messages.
#[db_test]
#[tokio::test]
async fn the_main_account_does_not_see_its_sub_accounts_messages(database: Database) {
    for walls in Walls::of(database) {
        let t = walls.start().await;
        let house = house(&t, "own").await;

        let own = t.ask(&house.team.key, "{ messages { totalCount nodes { id } } }").await;
        let expected = json!({ "totalCount": 1, "nodes": [{ "id": house.things[0].message }] });
        assert_eq!(own.data()["messages"], expected);
        let query =
            "{ ledger(filter: { kind: [CHARGE] }) { nodes { messageId message { id text } } } }";
        let ledger = t.ask(&house.team.key, query).await;
        let [main, first, second] = &house.things;
        let (main, first, second) = (&main.message, &first.message, &second.message);
        let shown = json!({ "id": main, "text": "Hello" });
        let entries = [(second, json!(null)), (first, json!(null)), (main, shown)];
        let entries = entries.map(|(id, message)| json!({ "messageId": id, "message": message }));
        assert_eq!(ledger.data()["ledger"]["nodes"], json!(entries));
        t.close().await;
    }
}

/// R15: LIVE and TEST keys of one account do not see each other's messages.
#[db_test]
#[tokio::test]
async fn environments_do_not_see_each_other(database: Database) {
    for walls in Walls::of(database) {
        let t = walls.start().await;
        let house = house(&t, "own").await;
        let message = "query($id: ID!) { message(id: $id) { id environment } }";

        for (live, account_id, live_message) in [
            (&house.team.key, &house.team.main_account_id, &house.things[0].message),
            (&house.subs[0].key, &house.subs[0].id, &house.things[1].message),
        ] {
            let test = t.api_key(&house.team, account_id, "TEST").await;
            let test_message = send(&t, &test, "+12025550124").await;

            for (key, own, other, environment) in [
                (live, live_message, &test_message, "LIVE"),
                (&test, &test_message, live_message, "TEST"),
            ] {
                let shown = json!({ "id": own, "environment": environment });
                let found = t.ask_with(key, message, json!({ "id": own })).await;
                assert_eq!(found.data()["message"], shown);
                assert_unknown(&t, key, message, std::slice::from_ref(other)).await;
                let list = t.ask(key, "{ messages { totalCount nodes { id environment } } }").await;
                let expected = json!({ "totalCount": 1, "nodes": [shown] });
                assert_eq!(list.data()["messages"], expected);
            }
        }
        t.close().await;
    }
}

/// C4, C17, R2: teams list and count their own accounts, keys and usage only.
#[db_test]
#[tokio::test]
async fn lists_stay_within_their_team(database: Database) {
    for walls in Walls::of(database) {
        let t = walls.start().await;
        let houses = [house(&t, "one").await, house(&t, "two").await];
        let query = "{ subAccounts(filter: { search: \"o\" }) { totalCount nodes { id apiKeys \
                 { totalCount nodes { id } } } } ledger { totalCount } \
                 team { id usage(groupBy: [ACCOUNT]) { totals { messages } buckets { account { id } } } } }";

        for house in &houses {
            let answer = t.ask(&house.team.key, query).await;
            let node = |sub: &TestSubAccount| {
                let keys = json!({ "totalCount": 1, "nodes": [{ "id": sub.key_id }] });
                json!({ "id": sub.id, "apiKeys": keys })
            };
            let nodes = [node(&house.subs[1]), node(&house.subs[0])];
            let accounts = [&house.team.main_account_id, &house.subs[0].id, &house.subs[1].id];
            let buckets = accounts.map(|id| json!({ "account": { "id": id } }));
            let usage = json!({ "totals": { "messages": 3 }, "buckets": buckets });
            assert_eq!(
                *answer.data(),
                json!({
                    "subAccounts": { "totalCount": 2, "nodes": nodes }, "ledger": { "totalCount": 4 },
                    "team": { "id": house.team.id, "usage": usage },
                })
            );
        }
        t.close().await;
    }
}

/// R3: text that no row can hold, for PostgreSQL keeps no NUL, finds nothing like any other.
#[db_test]
#[tokio::test]
async fn text_that_no_row_can_hold_finds_nothing(database: Database) {
    let walls = if database == Sqlite { SQLITE } else { POSTGRES };
    let t = walls.start().await;
    let house = house(&t, "own").await;
    let before = t.everything().await;
    let mut queries = Vec::new();
    for arguments in [
        "messages(filter: { to: $id })",
        "subAccounts(filter: { search: $id })",
        "subAccounts(filter: { metadata: { key: $id, value: \"gold\" } })",
        "subAccounts(filter: { metadata: { key: \"plan\", value: $id } })",
    ] {
        queries.push(format!("query($id: String!) {{ {arguments} {{ totalCount }} }}"));
    }
    let mut differing = Vec::new();
    for query in &queries {
        let nobody = t.ask_with(&house.team.key, query, json!({ "id": "nobody's" })).await;
        for text in ["\0", "own\0", "own-1\0"] {
            let answer = t.ask_with(&house.team.key, query, json!({ "id": text })).await;
            if answer.body != nobody.body {
                differing.push((query, text, answer.body));
            }
        }
    }

    assert_eq!(differing, []);
    assert_eq!(t.everything().await, before);
    t.close().await;
}
