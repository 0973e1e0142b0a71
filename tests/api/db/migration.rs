//! The database schema: constraints, migrations down and up again, and whether the entities match the tables.

use db_test::db_test;
use migration::{Migrator, MigratorTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, Iterable, Statement, entity::ColumnType,
};
use serde_json::json;

use crate::harness::{Apps, Setup, Sqlite, TestApp};

/// The forbidden rows are written with SQL, so that only the database checks them.
#[db_test]
async fn constraints_refuse_rows_that_break_the_rules(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({ "externalId": "abc", "creditLimit": 100 })).await;
    assert!(t.sends(&sub.key).await);
    t.deliver().await;
    t.contact(&sub.key, &["+12025550100", "+12025550101", "ada@example.com"]).await;
    t.contact(&team.key, &["+12025550100"]).await;
    t.phone_number(&sub.key, "+12025550100").await;
    t.phone_number(&team.key, "+12025550101").await;
    t.sender(&sub.key, json!({ "email": "a@example.com" })).await;
    t.sender(&sub.key, json!({})).await;
    let bodies = json!([{ "channel": "EMAIL", "subject": "Hi", "html": "<b>Hi</b>" }]);
    t.template(&sub.key, bodies, json!([])).await;
    let before = t.everything().await;

    for forbidden in [
        // An account cannot have a second default sender. A sender without an e-mail address cannot have a display name
        // for e-mail.
        "UPDATE sender SET is_default = TRUE",
        "UPDATE sender SET email = NULL, email_name = 'A'",
        "UPDATE sender SET email = ''",
        "UPDATE sender SET name = ''",
        // A template cannot be without content or have only a subject.
        "UPDATE template SET email_html = NULL",
        "UPDATE template SET email_html = NULL, email_subject = NULL",
        "UPDATE template SET account_id = id",
        // An address cannot be in two contacts of an account, be a second primary address, or be in a contact of
        // another account.
        "UPDATE contact_address SET address = '+12025550100' WHERE channel = 'SMS'",
        "UPDATE contact_address SET is_primary = TRUE",
        "UPDATE contact_address SET account_id = (SELECT account_id FROM contact ORDER BY id LIMIT 1)",
        "UPDATE contact_address SET address = ''",
        "UPDATE contact_address SET channel = 'FAX'",
        "DELETE FROM contact",
        // A team cannot have a second main account.
        "UPDATE account SET is_sub_account = FALSE, credit_limit_micros = NULL, total_spent_micros = 0, external_id = NULL",
        // A main account cannot have a credit limit, a total spent, a status or an external id.
        "UPDATE account SET credit_limit_micros = 1 WHERE NOT is_sub_account",
        "UPDATE account SET total_spent_micros = 1 WHERE NOT is_sub_account",
        "UPDATE account SET status = 'SUSPENDED' WHERE NOT is_sub_account",
        "UPDATE account SET status = 'ASLEEP'",
        "UPDATE team SET balance_micros = -1",
        "UPDATE team SET balance_micros = 1000000000000001",
        "UPDATE account SET total_spent_micros = -1 WHERE is_sub_account",
        "UPDATE account SET credit_limit_micros = -1 WHERE is_sub_account",
        "UPDATE message SET cost_micros = -1",
        "UPDATE message SET environment = 'TEST'",
        "UPDATE message SET status = 'ASLEEP'",
        "UPDATE message SET word_bytes = 1",
        "UPDATE message SET word_bytes = -1",
        "UPDATE account SET test_message_count = -1",
        "UPDATE team SET sub_account_count = -1",
        "UPDATE account SET test_message_bytes = -1",
        "UPDATE account SET key_generation = -1",
        "UPDATE api_key SET generation = -1",
        "UPDATE account SET quiet_time_zone = 'UTC'",
        "UPDATE account SET quiet_from_minute = 1, quiet_to_minute = 2",
        "UPDATE account SET quiet_from_minute = 1, quiet_to_minute = 1, quiet_time_zone = 'UTC'",
        "UPDATE account SET quiet_from_minute = 1, quiet_to_minute = 1440, quiet_time_zone = 'UTC'",
        "UPDATE api_key SET team_id = NULL WHERE role = 'SUB_ACCOUNT'",
        "UPDATE api_key SET hash = (SELECT hash FROM api_key WHERE role = 'OPERATOR')",
        "UPDATE ledger_entry SET amount_micros = amount_micros + 1",
        "DELETE FROM ledger_entry",
        // A phone number cannot belong to two accounts or be missing from the inventory, and cannot be deleted if the
        // ledger refers to the number.
        "UPDATE phone_number SET number = '+12025550100'",
        "UPDATE phone_number SET number = '+12025550199'",
        "DELETE FROM phone_number",
        "DELETE FROM inventory_number",
        "UPDATE phone_number SET status = 'SUSPENDED'",
        "UPDATE phone_number SET status = 'RELEASED'",
        "UPDATE phone_number SET status = 'ASLEEP'",
        "UPDATE phone_number SET suspended_at = created_at",
        "UPDATE phone_number SET number_type = 'SHORT'",
        "UPDATE phone_number SET has_sms = FALSE",
        "UPDATE phone_number SET months_paid = 0",
        "UPDATE phone_number SET monthly_price_micros = -1",
        "UPDATE inventory_number SET upfront_price_micros = 1000000000000001",
        "UPDATE inventory_number SET number = '12025550100'",
        "UPDATE phone_number SET buyer_id = (SELECT id FROM account WHERE NOT is_sub_account), idempotency_key = 'a'",
        // A month of a phone number cannot be charged twice, a fee must refer to a phone number, and only a fee may
        // refer to a phone number.
        "INSERT INTO ledger_entry SELECT team_id, team_id, account_id, message_id, kind, amount_micros, balance_after_micros, NULL, NULL, created_at, phone_number_id, phone_number_month FROM ledger_entry WHERE kind = 'NUMBER_FEE' ORDER BY id LIMIT 1",
        "INSERT INTO ledger_entry SELECT team_id, team_id, account_id, message_id, kind, amount_micros, balance_after_micros, NULL, NULL, created_at, NULL, NULL FROM ledger_entry WHERE kind = 'NUMBER_FEE' ORDER BY id LIMIT 1",
        "INSERT INTO ledger_entry SELECT team_id, team_id, account_id, message_id, kind, -amount_micros, balance_after_micros, NULL, NULL, created_at, phone_number_id, 7 FROM ledger_entry WHERE kind = 'NUMBER_FEE' ORDER BY id LIMIT 1",
        "INSERT INTO ledger_entry SELECT team_id, team_id, account_id, NULL, 'ADJUSTMENT', amount_micros, balance_after_micros, NULL, NULL, created_at, phone_number_id, 7 FROM ledger_entry WHERE kind = 'NUMBER_FEE' ORDER BY id LIMIT 1",
        "DELETE FROM message",
        "DELETE FROM account",
        "DELETE FROM team",
        "INSERT INTO account SELECT team_id, team_id, TRUE, name, status, NULL, NULL, NULL, 0, 'abc', NULL, TRUE, '', created_at, updated_at, NULL, NULL, NULL, 0, 0, NULL, NULL, 0 FROM account WHERE NOT is_sub_account",
        "INSERT INTO account SELECT team_id, team_id, FALSE, name, status, NULL, NULL, NULL, 0, NULL, NULL, TRUE, '', created_at, updated_at, NULL, NULL, NULL, 0, 0, NULL, NULL, 0 FROM account WHERE NOT is_sub_account",
    ] {
        let done = t.app.db.write.execute_unprepared(forbidden).await;
        assert!(done.is_err(), "the database accepted: {forbidden}");
    }

    assert_eq!(t.everything().await, before);
}

#[db_test]
async fn all_migrations_run_down_and_up_again(apps: &Apps) {
    let t = apps.start_with(Setup::of_owner()).await;
    let team = t.team(1000).await;
    assert!(t.sends(&team.key).await);
    let tables = schema_of(&t).await;

    Migrator::down(&t.app.db.write, None).await.expect("the migrations go down");
    let nothing = schema_of(&t).await;
    assert!(!t.app.db.is_current().await.expect("the database answers"));
    t.app.db.migrate().await.expect("the migrations go up again");

    assert_eq!(nothing, Vec::<String>::new());
    assert_eq!(schema_of(&t).await, tables);
    assert!(t.app.db.is_current().await.expect("the database answers"));
}

/// The migration works while connections are open, and changes no amount.
#[db_test]
async fn the_migration_of_statuses_keeps_existing_messages(apps: &Apps) {
    let t = apps.start_with(Setup::of_owner()).await;
    let team = t.team(1000).await;
    assert!(t.sends(&team.key).await);
    let (tables, rows) = (schema_of(&t).await, t.everything().await);
    let expire = "UPDATE message SET status = 'EXPIRED'";

    down_to(&t, "schedules").await;
    assert!(t.app.db.write.execute_unprepared(expire).await.is_err(), "there is no such status");
    t.app.db.migrate().await.expect("the migration runs up again");

    assert_eq!(schema_of(&t).await, tables);
    assert_eq!(t.everything().await, rows);
    let txn = t.app.db.begin_write().await.expect("a transaction begins");
    txn.execute_unprepared(expire).await.expect("there is such a status");
    txn.rollback().await.expect("the transaction ends");
    if apps.database == Sqlite {
        assert_eq!(
            t.number("SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'")
                .await,
            0
        );
        assert_eq!(t.number("SELECT COUNT(*) FROM pragma_foreign_key_check").await, 0);
    }
}

/// Balances and totals stay correct, and an older version of the program can still read the usage.
#[db_test]
async fn migrating_down_turns_number_fees_into_corrections(apps: &Apps) {
    let t = apps.start_with(Setup::of_owner()).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    t.phone_number(&sub.key, "+12025550100").await;
    assert!(t.sends(&sub.key).await);

    down_to(&t, "phone_numbers").await;
    let corrections = "SELECT COUNT(*) FROM ledger_entry WHERE kind = 'ADJUSTMENT' \
                       AND amount_micros = -10000 AND account_id IS NOT NULL";
    assert_eq!(t.number(corrections).await, 1);
    assert_eq!(t.number("SELECT COUNT(*) FROM usage_day").await, 1);
    let change = "UPDATE ledger_entry SET note = 'x'";
    assert!(
        t.app.db.write.execute_unprepared(change).await.is_err(),
        "the ledger is still append-only"
    );
    t.app.db.migrate().await.expect("the migration runs up again");
}

#[db_test]
async fn keys_of_a_deactivated_account_stay_revoked_after_migrating_down_and_up(apps: &Apps) {
    let t = apps.start_with(Setup::of_owner()).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    t.send_many(&sub.key, 3, json!({})).await;
    for change in ["deactivateSubAccount", "reactivateSubAccount"] {
        let query = format!(
            "mutation($id: ID!) {{ {change}(account: {{ id: $id }}) {{ errors {{ code }} }} }}"
        );
        let changed = t.ask_with(&team.key, &query, json!({ "id": sub.id })).await;
        assert_eq!(changed.refusals(), [""; 0]);
    }
    let key = t.api_key(&team, &sub.id, "LIVE").await;
    t.send_many(&key, 2, json!({})).await;

    down_to(&t, "key_generations").await;
    assert_eq!(t.number("SELECT COUNT(*) FROM api_key WHERE is_retired").await, 1);
    t.app.db.migrate().await.expect("the migration runs up again");

    t.run_backlog().await;
    t.deliver().await;
    let count = async |status: &str| {
        t.number(&format!("SELECT COUNT(*) FROM message WHERE status = '{status}'")).await
    };
    assert_eq!((count("CANCELED").await, count("DELIVERED").await), (3, 2));
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_migrate_at_once_take_turns(apps: &Apps) {
    let t = apps.start_with(Setup::of_owner()).await;
    Migrator::down(&t.app.db.write, None).await.expect("the migrations go down");

    let mut at_once = Vec::new();
    for _ in 0..4 {
        let db = tollgate::db::Db::connect(&t.url, 1).await.expect("the database opens");
        at_once.push(tokio::spawn(async move { db.migrate().await }));
    }
    for done in at_once {
        done.await.expect("the task ends").expect("the migrations run");
    }

    assert!(t.app.db.is_current().await.expect("the database answers"));
}

/// The columns also have the same types and nullability.
#[db_test]
async fn entities_and_tables_have_the_same_columns(t: &TestApp) {
    compare::<entity::team::Entity>(t).await;
    compare::<entity::account::Entity>(t).await;
    compare::<entity::api_key::Entity>(t).await;
    compare::<entity::message::Entity>(t).await;
    compare::<entity::ledger_entry::Entity>(t).await;
    compare::<entity::price::Entity>(t).await;
    compare::<entity::usage_day::Entity>(t).await;
    compare::<entity::contact::Entity>(t).await;
    compare::<entity::contact_address::Entity>(t).await;
    compare::<entity::contact_tag::Entity>(t).await;
    compare::<entity::opt_out::Entity>(t).await;
    compare::<entity::phone_number::Entity>(t).await;
    compare::<entity::inventory_number::Entity>(t).await;
    compare::<entity::sender::Entity>(t).await;
    compare::<entity::template::Entity>(t).await;
    compare::<entity::audit_entry::Entity>(t).await;
}

/// Reverts all migrations from the newest to the one with this name, including that migration.
async fn down_to(t: &TestApp, name: &str) {
    let migrations = Migrator::migrations();
    let at = migrations.iter().position(|migration| migration.name().ends_with(name));
    let steps = u32::try_from(migrations.len() - at.expect("the migration"));
    let steps = steps.expect("a small number");
    Migrator::down(&t.app.db.write, Some(steps)).await.expect("the migrations go down");
}

async fn compare<E: EntityTrait>(t: &TestApp) {
    let table = E::default().table_name().to_owned();
    let backend = t.app.db.backend();
    let mut expected: Vec<(String, String, bool)> = E::Column::iter()
        .map(|column| {
            let def = column.def();
            let of_type = type_name(def.get_column_type(), backend).to_owned();
            (sea_orm::IdenStatic::as_str(&column).to_owned(), of_type, def.is_null())
        })
        .collect();
    expected.sort();
    let sql = match backend {
        DbBackend::Postgres => format!(
            "SELECT column_name::text AS name, data_type::text AS type, is_nullable = 'YES' AS nullable \
             FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{table}'"
        ),
        _ => format!(
            "SELECT name, type, \"notnull\" = 0 AS nullable FROM pragma_table_info('{table}')"
        ),
    };
    let rows = t.app.db.read.query_all_raw(Statement::from_string(backend, sql)).await;
    let mut found: Vec<(String, String, bool)> = rows
        .expect("the query runs")
        .iter()
        .map(|row| {
            let get = |name: &str| row.try_get::<String>("", name).expect("text");
            (get("name"), get("type").to_lowercase(), row.try_get("", "nullable").expect("a flag"))
        })
        .collect();
    found.sort();
    assert_eq!(found, expected, "{table}");
}

/// Returns the database's name for the type of an entity's column.
fn type_name(of_type: &ColumnType, backend: DbBackend) -> &'static str {
    let is_postgres = backend == DbBackend::Postgres;
    match of_type {
        ColumnType::Uuid => {
            if is_postgres {
                "uuid"
            } else {
                "uuid_text"
            }
        }
        ColumnType::Text | ColumnType::Enum { .. } => "text",
        ColumnType::BigInteger if is_postgres => "bigint",
        ColumnType::BigInteger | ColumnType::Integer => "integer",
        ColumnType::Boolean => "boolean",
        ColumnType::Date => {
            if is_postgres {
                "date"
            } else {
                "date_text"
            }
        }
        ColumnType::TimestampWithTimeZone => {
            if is_postgres {
                "timestamp with time zone"
            } else {
                "timestamp_with_timezone_text"
            }
        }
        ColumnType::VarBinary(_) | ColumnType::Blob | ColumnType::Binary(_) => {
            if is_postgres {
                "bytea"
            } else {
                "blob"
            }
        }
        other => panic!("no table has a column of {other:?}"),
    }
}

/// Returns the definitions of tables and indexes, except the table in which the applied migrations are recorded.
async fn schema_of(t: &TestApp) -> Vec<String> {
    let backend = t.app.db.backend();
    let sql = match backend {
        DbBackend::Postgres => {
            "SELECT indexdef AS name FROM pg_indexes WHERE schemaname = 'public' \
             AND tablename <> 'seaql_migrations' \
             UNION SELECT tgname || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal \
             UNION SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace \
             UNION SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint \
                   WHERE connamespace = 'public'::regnamespace AND conrelid <> 'seaql_migrations'::regclass \
             ORDER BY 1"
        }
        _ => {
            "SELECT name || COALESCE(sql, '') AS name FROM sqlite_master \
             WHERE tbl_name NOT IN ('seaql_migrations', 'sqlite_sequence') ORDER BY 1"
        }
    };
    let rows = t.app.db.read.query_all_raw(Statement::from_string(backend, sql)).await;
    rows.expect("the query runs").iter().map(|row| row.try_get("", "name").expect("text")).collect()
}

/// A stored address stays unchanged if the contact already has the normalized form of the address.
#[db_test]
async fn stored_email_addresses_are_normalized(apps: &Apps) {
    let t = apps.start_with(Setup::of_owner()).await;
    let team = t.team(1000).await;
    let stored = [
        ("\"eve\"@b\u{fc}cher.example", "eve@xn--bcher-kva.example"),
        ("\"a \\b\"@example.com", "\"a b\"@example.com"),
        ("Ren\u{e9}@example.com", "Ren\u{e9}@example.com"),
        ("\"taken\"@example.com", "\"taken\"@example.com"),
        ("taken@example.com", "taken@example.com"),
    ];
    down_to(&t, "canonical_addresses").await;
    for at in 0..stored.len() {
        let address = format!("{at}@example.com");
        t.contact(&team.key, &[&address]).await;
        let message = json!({ "to": address, "subject": "Hi", "text": "Hello" });
        assert_eq!(t.send(&team.key, message).await.refusals(), [""; 0]);
    }
    t.deliver().await;
    for (at, (old, _)) in stored.iter().enumerate() {
        let old = old.replace('\'', "''");
        for (table, column) in [("contact_address", "address"), ("message", "recipient")] {
            let set = format!("UPDATE {table} SET {column} = '{old}'");
            t.execute(&format!("{set} WHERE {column} = '{at}@example.com'")).await;
        }
    }
    Migrator::up(&t.app.db.write, None).await.expect("the migration runs up");

    let query = "{ contacts { nodes { addresses { address } } } }";
    let listed = t.ask(&team.key, query).await;
    let nodes = listed.data()["contacts"]["nodes"].as_array().expect("a list");
    let mut found: Vec<_> = nodes.iter().map(|node| &node["addresses"][0]["address"]).collect();
    found.reverse();
    assert_eq!(found, stored.map(|(_, new)| new));

    // The contact is found by the normalized address. The erasure also finds the messages to the address as originally
    // written.
    let search = "{ contacts(filter: { search: \"eve@xn--bcher\" }) { nodes { id } } }";
    let eve = t.ask(&team.key, search).await.data()["contacts"]["nodes"][0]["id"].clone();
    let delete = "mutation($id: ID!) { deleteContact(id: $id) { errors { code } } }";
    let deleted = t.ask_with(&team.key, delete, json!({ "id": eve })).await;
    assert_eq!(deleted.refusals(), [""; 0]);
    let left = "SELECT COUNT(*) FROM message WHERE recipient LIKE '%eve%'";
    assert_eq!(t.number(left).await, 0);
    assert_eq!(t.number("SELECT COUNT(*) FROM message WHERE recipient = ''").await, 1);
}
