//! An audit log entry is written in the same transaction as the change that it records, is never changed, and contains
//! no secrets.

use db_test::db_test;
use sea_orm::ConnectionTrait as _;

use super::{
    FIELDS,
    calls::{calls, staged},
    count, newest,
};
use crate::harness::{Database, Postgres, Sqlite, TestApp};

/// If the audit log entry for a refused call cannot be written, the client still receives the refusal.
#[db_test]
async fn a_change_whose_entry_cannot_be_written_is_not_made(t: &TestApp) {
    let stage = staged(t).await;
    t.execute("ALTER TABLE audit_entry RENAME TO gone").await;
    let before = t.everything().await;

    for call in calls(&stage) {
        let answer = call.ask(t, call.key(t), &call.accepted, "a").await;
        assert_eq!(answer.codes(), ["INTERNAL_SERVER_ERROR"], "{}", call.mutation);
        if call.mutation == "deleteContact" {
            // The first step of the deletion has locked the contact until the deletion is repeated, so the test removes
            // the lock.
            t.execute("UPDATE contact SET busy_with = NULL").await;
        }
        assert_eq!(t.everything().await, before, "{}", call.mutation);
        let answer = call.ask(t, call.key(t), &call.refused, "a").await;
        let code = answer.body["data"][call.mutation]["errors"][0]["code"].as_str();
        assert_eq!(code.or(answer.codes().first().copied()), Some(call.code));
    }

    t.execute("ALTER TABLE gone RENAME TO audit_entry").await;
}

/// The database also refuses an entry whose columns contradict each other.
#[db_test]
async fn the_database_refuses_to_change_or_delete_an_entry(t: &TestApp, database: Database) {
    staged(t).await;
    let before = newest(t, &t.operator, 100).await;

    for sql in [
        "UPDATE audit_entry SET code = 'X' WHERE outcome = 'DONE'",
        "UPDATE audit_entry SET request_id = 'another'",
        "DELETE FROM audit_entry WHERE action = 'CREATE_TEAM'",
        "DELETE FROM audit_entry",
    ] {
        let refused = t.app.db.write.execute_unprepared(sql).await.expect_err("append-only");
        assert!(refused.to_string().contains("the audit log is append-only"), "{refused}");
    }
    if database == Postgres {
        assert!(t.app.db.write.execute_unprepared("TRUNCATE audit_entry").await.is_err());
    }
    let id = match database {
        Sqlite => "randomblob(16)",
        Postgres => "gen_random_uuid()",
    };
    for (team, account, is_private, actor, key, outcome, code) in [
        ("team_id", "NULL", "FALSE", "'SOMEBODY'", "key_id", "'DONE'", "NULL"),
        ("team_id", "NULL", "FALSE", "'COMMAND_LINE'", "key_id", "'DONE'", "NULL"),
        ("team_id", "NULL", "FALSE", "'OPERATOR'", "NULL", "'DONE'", "NULL"),
        ("NULL", "NULL", "FALSE", "'MAIN_ACCOUNT'", "key_id", "'DONE'", "NULL"),
        ("NULL", "account_id", "FALSE", "'OPERATOR'", "key_id", "'DONE'", "NULL"),
        ("team_id", "NULL", "TRUE", "'OPERATOR'", "key_id", "'DONE'", "NULL"),
        ("team_id", "NULL", "FALSE", "'OPERATOR'", "key_id", "'PERHAPS'", "NULL"),
        ("team_id", "NULL", "FALSE", "'OPERATOR'", "key_id", "'DONE'", "'X'"),
        ("team_id", "NULL", "FALSE", "'OPERATOR'", "key_id", "'REFUSED'", "NULL"),
    ] {
        let sql = format!(
            "INSERT INTO audit_entry (id, team_id, account_id, is_private, actor, key_id, action, \
             outcome, code, created_at) SELECT {id}, {team}, {account}, {is_private}, {actor}, {key}, \
             action, {outcome}, {code}, created_at FROM audit_entry WHERE account_id IS NOT NULL LIMIT 1"
        );
        let done = t.app.db.write.execute_unprepared(&sql).await;
        let refused = done.expect_err("a contradiction").to_string().to_lowercase();
        assert!(refused.contains("check"), "{refused}");
    }

    assert_eq!(newest(t, &t.operator, 100).await, before);
}

#[db_test]
async fn the_log_contains_no_keys_addresses_names_metadata_or_refused_text(t: &TestApp) {
    let stage = staged(t).await;
    for call in calls(&stage) {
        call.ask(t, call.key(t), &call.accepted, "a").await;
        call.ask(t, call.key(t), &call.refused, "a").await;
    }
    let odd = "mutation { updateSubAccount(account: { externalId: \"a secret\" }, \
               input: { name: \"a secret\" }) { errors { code } } }";
    assert_eq!(t.ask(&stage.team.key, odd).await.refusals(), ["NOT_FOUND"]);

    let query = format!("{{ auditLog(first: 100) {{ totalCount nodes {{ {FIELDS} }} }} }}");
    let log = t.ask(&t.operator, &query).await;
    assert_eq!(log.data()["auditLog"]["totalCount"], count(t).await);
    let all = log.data().to_string();
    for secret in [
        "tg_live",
        "tg_test",
        "tg_operator",
        "+1202",
        "example.com",
        "Ada",
        "Bea",
        "home",
        "gold",
        "silver",
        "secret",
        "hash",
        "prefix",
    ] {
        assert!(!all.contains(secret), "{secret}");
    }
}
