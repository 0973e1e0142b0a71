//! Row security on PostgreSQL: a statement returns only the caller's rows, even without a filter. All tests on
//! PostgreSQL run with row security; the tests in this file check it separately.

use std::collections::{BTreeMap, BTreeSet};

use db_test::db_test;
use futures_util::future::join_all;
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};
use serde_json::json;
use tollgate::db::{Readers, RowSecurity, Scope, row_security};
use uuid::Uuid;

use crate::{
    cli::tollgate,
    harness::{Apps, Setup, TestApp, TestSubAccount, TestTeam, text},
};

/// Tables whose rows are visible only to the account that owns the row.
pub const OF_ACCOUNTS: [&str; 8] = [
    "contact",
    "contact_address",
    "contact_tag",
    "message",
    "opt_out",
    "phone_number",
    "sender",
    "template",
];
/// Tables whose rows belong to accounts, and are visible to the whole team.
pub const OF_TEAMS: [&str; 4] = ["api_key", "audit_entry", "ledger_entry", "usage_day"];

/// Returns the tables whose rows belong to teams, each with the column that row security compares with the scope of the
/// caller.
async fn tenants(t: &TestApp) -> BTreeMap<String, &'static str> {
    let with = async |column: &str| {
        let sql = format!(
            "SELECT table_name::text FROM information_schema.columns \
             WHERE table_schema = 'public' AND column_name = '{column}'"
        );
        let rows = t.app.db.read.query_all_raw(statement(&sql)).await.expect("the tables");
        let names = rows.iter().map(|row| row.try_get_by_index::<String>(0).expect("a name"));
        names.collect::<BTreeSet<String>>()
    };
    let of_accounts = with("account_id").await;
    let known = OF_ACCOUNTS.iter().chain(&OF_TEAMS).map(|name| (*name).to_owned());
    assert_eq!(of_accounts, known.collect(), "a new table must be added to one of the two lists");
    let column = |name: &str| {
        if OF_ACCOUNTS.contains(&name) { "account_id" } else { "team_id" }
    };
    let with_teams = with("team_id").await.into_iter().map(|name| (name.clone(), column(&name)));
    with_teams.chain([("team".to_owned(), "id")]).collect()
}

fn statement(sql: &str) -> Statement {
    Statement::from_string(DbBackend::Postgres, sql)
}

async fn count(readers: &Readers, sql: &str) -> i64 {
    let row = readers.query_one_raw(statement(sql)).await.expect("the query runs");
    row.expect("a row").try_get_by_index(0).expect("a number")
}

fn scope(team: &TestTeam, account_id: &str) -> Scope {
    let id = |id: &str| Uuid::try_parse(id).expect("an id");
    Scope::Account { team_id: id(&team.id), account_id: id(account_id) }
}

/// Creates a team with two sub-accounts. Each of the three accounts has one row in every table.
async fn team_with_data(t: &TestApp) -> (TestTeam, [TestSubAccount; 2]) {
    let team = t.team(1000).await;
    let subs = [
        t.sub_account(&team, json!({ "name": "One" })).await,
        t.sub_account(&team, json!({ "name": "Two" })).await,
    ];
    for key in [&team.key, &subs[0].key, &subs[1].key] {
        assert!(t.sends(key).await);
        let (id, _) = t.contact(key, &["+12025550171"]).await;
        let tag = "mutation($id: ID!) { updateContact(id: $id, input: { tags: [\"vip\"] }) \
                   { errors { code } } }";
        assert!(t.ask_with(key, tag, json!({ "id": id })).await.refusals().is_empty());
        t.opt_out(key, "+12025550170").await;
        t.template(key, json!([{ "channel": "SMS", "text": "Hello" }]), json!([])).await;
        let number = 5_550_100 + t.number("SELECT COUNT(*) FROM inventory_number").await;
        let number = format!("+1202{number}");
        let number = t.phone_number(key, &number).await;
        t.sender(key, json!({ "name": "Acme", "phoneNumberId": number })).await;
    }
    t.deliver().await;
    (team, subs)
}

/// The test also checks that `row_security::missing` reports every table with missing or wrong policies.
#[db_test(postgres)]
async fn each_table_with_a_team_id_has_its_policy(t: &TestApp) {
    let tables: Vec<String> = tenants(t).await.into_keys().collect();
    assert!(tables.len() > 10, "{tables:?}");
    assert_eq!(row_security::missing(&t.app.db.read).await.expect("the catalogue"), [""; 0]);
    for table in &tables {
        let forced = format!(
            "SELECT count(*) FROM pg_class WHERE relname = '{table}' AND relrowsecurity \
             AND relforcerowsecurity"
        );
        assert_eq!(t.number(&forced).await, 1, "{table}");
    }

    t.execute("CREATE TABLE new_thing (id uuid, team_id uuid)").await;
    t.execute("REVOKE SELECT ON price FROM tollgate_server").await;
    t.execute("ALTER TABLE contact NO FORCE ROW LEVEL SECURITY").await;
    t.execute("DROP POLICY of_server ON message").await;
    // Policies that allow too much: one in addition to the expected policies, one in place of an expected policy, and
    // one for all roles.
    t.execute("CREATE POLICY another ON sender TO tollgate_server USING (true)").await;
    t.execute("ALTER POLICY of_server ON template USING (true)").await;
    t.execute("ALTER POLICY of_system ON opt_out TO PUBLIC").await;
    let as_before =
        "account_id = (SELECT NULLIF(current_setting('app.account_id', true), '')::uuid)";
    t.execute(&format!("ALTER POLICY of_server ON phone_number USING ({as_before})")).await;
    let missing = row_security::missing(&t.app.db.read).await.expect("the catalogue");
    let expected = [
        "contact",
        "message",
        "new_thing",
        "opt_out",
        "phone_number",
        "price",
        "sender",
        "template",
    ];
    assert_eq!(missing, expected);

    t.execute("DROP TABLE new_thing").await;
    t.execute("DROP POLICY another ON sender").await;
    row_security::set_up(&t.app.db.write).await.expect("what is missing is set up");
    assert_eq!(row_security::missing(&t.app.db.read).await.expect("the catalogue"), [""; 0]);
}

/// The test covers every table whose rows belong to teams.
#[db_test(postgres)]
async fn a_statement_without_filters_returns_only_the_callers_rows(t: &TestApp) {
    let (own, subs) = team_with_data(t).await;
    let (foreign, _) = team_with_data(t).await;
    let unknown = Uuid::nil().to_string();

    for (team, account) in [
        (&own, subs[0].id.as_str()),
        (&own, subs[1].id.as_str()),
        (&own, own.main_account_id.as_str()),
        (&foreign, foreign.main_account_id.as_str()),
        (&TestTeam { id: unknown.clone(), ..own.clone() }, unknown.as_str()),
    ] {
        let readers = t.app.db.read.within(scope(team, account));
        for (table, column) in tenants(t).await {
            let id = if column == "account_id" { account } else { &team.id };
            let all = count(&t.app.db.read, &format!("SELECT count(*) FROM {table}")).await;
            let own = format!("SELECT count(*) FROM {table} WHERE {column} = '{id}'");
            let own = count(&t.app.db.read, &own).await;

            let seen = count(&readers, &format!("SELECT count(*) FROM {table}")).await;

            assert_eq!(seen, own, "{table}");
            assert_eq!(own > 0, id != unknown, "{table} has visible rows");
            assert!(own < all, "{table} has hidden rows");
            let others = format!("SELECT count(*) FROM {table} WHERE {column} <> '{id}'");
            assert_eq!(count(&readers, &others).await, 0, "{table}");
        }
    }
}

#[db_test(postgres)]
async fn callers_that_share_a_connection_see_only_their_own_rows(t: &TestApp) {
    let (own, subs) = team_with_data(t).await;
    let (foreign, _) = team_with_data(t).await;
    let scopes = [
        scope(&own, &subs[0].id),
        scope(&own, &own.main_account_id),
        scope(&foreign, &foreign.main_account_id),
        Scope::All,
    ];

    let turns = (0..200).map(|turn| {
        let (of, scope) = (turn % scopes.len(), scopes[turn % scopes.len()]);
        let readers = t.app.db.read.within(scope);
        async move { (of, count(&readers, "SELECT count(*) FROM contact").await) }
    });
    for (of, seen) in join_all(turns).await {
        assert_eq!(seen, if scopes[of] == Scope::All { 6 } else { 1 });
    }
    let snapshot = t.app.db.read.within(scopes[2]).snapshot().await.expect("a snapshot");
    let rows = snapshot.query_all_raw(statement("SELECT account_id::text FROM message")).await;
    let rows = rows.expect("the messages");
    assert_eq!(rows.len(), 1);
    let account: String = rows[0].try_get_by_index(0).expect("an id");
    assert_eq!(account, foreign.main_account_id);
    snapshot.end().await.expect("the snapshot ends");
}

/// A connection that reads for a caller cannot widen the scope by changing session settings either.
#[db_test(postgres)]
async fn a_connection_that_reads_for_a_caller_cannot_write(t: &TestApp) {
    let (own, subs) = team_with_data(t).await;
    let before = t.everything().await;
    let readers = t.app.db.read.within(scope(&own, &subs[0].id));

    for sql in [
        "UPDATE contact SET display_name = 'Mine'",
        "DELETE FROM contact",
        "INSERT INTO contact_tag SELECT * FROM contact_tag",
        "UPDATE team SET balance_micros = 1",
        "ALTER TABLE contact NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY of_server ON contact",
    ] {
        let refused = readers.execute_raw(statement(sql)).await.expect_err("a refusal").to_string();
        assert!(
            ["permission denied", "must be owner", "read-only"]
                .iter()
                .any(|why| refused.contains(why)),
            "{sql}: {refused}"
        );
    }
    let open = "SELECT count(*) FROM contact WHERE set_config('row_security', 'off', true) <> ''";
    assert_eq!(count(&readers, open).await, 1);

    assert_eq!(t.everything().await, before);
}

/// `serve --row-security` refuses to start if row security is not set up or if the database is SQLite.
#[db_test(postgres)]
async fn row_security_is_set_up_by_migrate_and_required_by_serve(apps: &Apps) {
    let t = apps.start_with(Setup::of_owner()).await;
    t.execute("DROP POLICY of_server ON contact").await;

    let serve = ["serve", "--row-security", "--listen", "127.0.0.1:0", "--metrics-listen", "off"];
    let refused = tollgate(&t.url, &serve);
    assert_eq!(refused.status.code(), Some(2));
    let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(printed.contains("row security is not set up on contact; run"), "{printed}");

    for _ in 0..2 {
        let done = tollgate(&t.url, &["migrate", "--row-security"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let printed = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(printed, "The database's schema is current.\nRow security is set up.\n");
    }
    assert_eq!(row_security::missing(&t.app.db.read).await.expect("the catalogue"), [""; 0]);

    let folder = tempfile::tempdir().expect("a folder");
    let file = tollgate::db::sqlite_url(&folder.path().join("a.db"));
    for arguments in [&serve[..], &["migrate", "--row-security"]] {
        let refused = tollgate(&file, arguments);
        assert_eq!(refused.status.code(), Some(2));
        let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            printed.contains("row security needs PostgreSQL; omit --row-security"),
            "{printed}"
        );
    }
    let viewer = t.ask(&t.operator, "{ viewer { role } }").await;
    assert_eq!(text(&viewer.data()["viewer"]["role"]), "OPERATOR");
}

/// To set up row security, a login only needs to own the tables and to have the privilege to create roles. The same
/// database can also be served without row security.
#[db_test(postgres)]
async fn row_security_needs_no_superuser(apps: &Apps) {
    let t = apps.start_with(Setup::of_owner()).await;
    let (scheme, rest) = t.url.split_once("://").expect("a URL");
    let (_, address) = rest.split_once('@').expect("a login");
    // A login exists in all databases of a server. The name of this login contains the name of the database to make it
    // unique.
    let name = address.split(['/', '?']).nth(1).expect("a database");
    let login = format!("login_of_{name}");
    t.execute(&format!("CREATE ROLE {login} LOGIN CREATEROLE PASSWORD 'a-password'")).await;
    t.execute("GRANT CREATE ON SCHEMA public TO PUBLIC").await;
    let reassign = format!(
        "DO $$ DECLARE name text; BEGIN \
         FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP \
         EXECUTE format('ALTER TABLE %I OWNER TO {login}', name); \
         EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', name); END LOOP; END $$"
    );
    t.execute(&reassign).await;
    let url = format!("{scheme}://{login}:a-password@{address}");

    let done = tollgate(&url, &["migrate", "--row-security"]);

    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    for row_security in [RowSecurity::On, RowSecurity::Off] {
        let as_login = t.beside_at(url.clone(), Setup { row_security, ..Setup::default() }).await;
        let team = as_login.team(1000).await;
        let sub = as_login.sub_account(&team, json!({})).await;
        assert!(as_login.sends(&sub.key).await);
        as_login.deliver().await;
        let sent = as_login.ask(&sub.key, "{ messages { nodes { status } } }").await;
        assert_eq!(sent.data()["messages"]["nodes"], json!([{ "status": "DELIVERED" }]));
        as_login.close().await;
    }
    let audited = tollgate(&url, &["reconcile"]);
    let printed = String::from_utf8_lossy(&audited.stdout).into_owned();
    assert!(printed.starts_with("Reconciled: teams 2, accounts 4,"), "{printed}");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--row-security"];
    let serve_without = &serve[..5];
    // If row security hides rows from a login, commands report an error, because they could otherwise mistake hidden
    // rows for missing rows.
    for (revoked, arguments, why) in [
        ("tollgate_server", &serve[..], "the login may not read as tollgate_server"),
        ("tollgate_system", &["audit"], "row security hides every row from this login"),
        ("tollgate_system", &["team", "list"], "row security hides every row from this login"),
        ("tollgate_system", serve_without, "row security hides every row from this login"),
    ] {
        t.execute(&format!("REVOKE {revoked} FROM {login}")).await;
        let refused = tollgate(&url, arguments);
        let printed = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{printed}");
        assert!(printed.contains(why), "{printed}");
        t.execute(&format!("GRANT {revoked} TO {login}")).await;
    }
    t.execute(&format!("REASSIGN OWNED BY {login} TO CURRENT_USER; DROP OWNED BY {login}")).await;
    t.execute(&format!("DROP ROLE {login}")).await;
}
