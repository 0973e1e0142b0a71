//! The audit log: every call but those about messages leaves one entry, whether it was done or refused; done
//! with its change or not at all; seen by whom it concerns; and never changed.

pub mod calls;
mod list;
mod refusals;

use std::{collections::BTreeSet, path::Path};

use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use db_test::db_test;
use sea_orm::ConnectionTrait as _;
use serde_json::{Value, json};
use tollgate::{domain::audit_log::refusals::write_counts, http};

use crate::{
    harness::{Database, Postgres, Setup, Socket, Sqlite, TestApp, text},
    layers::rust_files,
};
use calls::{calls, staged};

/// Mutations without an entry: a message tells of itself.
pub const MESSAGES: [&str; 3] = ["sendMessage", "sendMessages", "cancelMessage"];
const FIELDS: &str = "action outcome code count actor actorKey { id } team { id } account { id } targetId before \
                      after requestId createdAt";

async fn count(t: &TestApp) -> i64 {
    t.number("SELECT COUNT(*) FROM audit_entry").await
}

/// The newest entries that a key sees.
async fn newest(t: &TestApp, key: &str, first: usize) -> Vec<Value> {
    let query = format!("{{ auditLog(first: {first}) {{ nodes {{ {FIELDS} }} }} }}");
    let answer = t.ask(key, &query).await;
    answer.data()["auditLog"]["nodes"].as_array().expect("nodes").clone()
}

/// The first `id` in an answer's data.
fn id_in(value: &Value) -> Option<&str> {
    match value {
        Value::Object(object) => {
            let own = object.get("id").and_then(Value::as_str);
            own.or_else(|| object.values().find_map(id_in))
        }
        // What was added stands last.
        Value::Array(values) => values.iter().rev().find_map(id_in),
        _ => None,
    }
}

/// Ids that nobody could know before stand as `(id)`.
fn with_unknown_ids_hidden(mut settings: Value) -> Value {
    for name in ["apiKeyId", "newApiKeyId", "mainAccountId"] {
        if let Some(id) = settings.get_mut(name) {
            assert!(uuid::Uuid::try_parse(id.as_str().expect("an id")).is_ok());
            *id = json!("(id)");
        }
    }
    settings
}

/// All mutations of the schema but those about messages are in the table; each leaves one entry that says all
/// of it when it is done, and one when it is refused.
#[db_test]
#[tokio::test]
async fn every_call_leaves_one_entry(database: Database) {
    let t = TestApp::start(database).await;
    let stage = staged(&t).await;
    let calls = calls(&stage);
    let mut tried: BTreeSet<&str> = calls.iter().map(|call| call.mutation).collect();
    tried.extend(MESSAGES);
    assert_eq!(mutations(), tried.into_iter().map(str::to_owned).collect::<BTreeSet<_>>());

    for call in &calls {
        let key = call.key(&t);
        let by = t.ask(key, "{ viewer { apiKey { id } role } }").await;
        let by = &by.data()["viewer"];
        let entries = count(&t).await;

        let refused = call.ask(&t, key, &call.refused, "the-refused").await;

        let payload = &refused.body["data"][call.mutation];
        let code = payload["errors"][0]["code"].as_str();
        let code = code.or(refused.codes().first().copied());
        assert_eq!(code, Some(call.code), "{}: {}", call.mutation, refused.body);
        assert_eq!(count(&t).await, entries + 1, "{}", call.mutation);
        let is_of_team = call.mutation != "createTeam";
        let team = is_of_team.then(|| json!({ "id": stage.team.id }));
        let (account, target) = call.named;
        let expected = json!({
            "action": call.action(), "outcome": "REFUSED", "code": call.code, "count": 1, "actor": by["role"],
            "actorKey": by["apiKey"], "team": team, "account": account.map(|id| json!({ "id": id })),
            "targetId": target, "before": null, "after": null, "requestId": "the-refused",
            "createdAt": "2026-03-16T12:00:00.000Z",
        });
        assert_eq!(newest(&t, &t.operator, 1).await, [expected]);

        let accepted = call.ask(&t, key, &call.accepted, "the-accepted").await;

        assert_eq!(accepted.body["errors"], json!(null), "{}: {}", call.mutation, accepted.body);
        assert_eq!(count(&t).await, entries + 2, "{}", call.mutation);
        let (account, target, before, after) = &call.entered;
        let made = id_in(accepted.data());
        let target = target.or(made);
        let account = if call.mutation == "createSubAccount" { made } else { *account };
        let team = if is_of_team { Some(stage.team.id.as_str()) } else { made };
        let mut entry = newest(&t, &t.operator, 1).await.remove(0);
        entry["after"] = with_unknown_ids_hidden(entry["after"].take());
        let expected = json!({
            "action": call.action(), "outcome": "DONE", "code": null, "count": 1, "actor": by["role"],
            "actorKey": by["apiKey"], "team": { "id": team },
            "account": account.map(|id| json!({ "id": id })), "targetId": target,
            "before": before, "after": after, "requestId": "the-accepted",
            "createdAt": "2026-03-16T12:00:00.000Z",
        });
        assert_eq!(entry, expected, "{}", call.mutation);
    }
    t.close().await;
}

fn mutations() -> BTreeSet<String> {
    let document = async_graphql::parser::parse_schema(tollgate::graphql::sdl()).expect("a schema");
    let fields = document.definitions.iter().find_map(|definition| match definition {
        TypeSystemDefinition::Type(found) if found.node.name.node == "Mutation" => {
            let TypeKind::Object(object) = &found.node.kind else { return None };
            Some(object.fields.iter().map(|field| field.node.name.node.to_string()).collect())
        }
        _ => None,
    });
    fields.expect("the mutations")
}

/// A change begins in `authentication`, and so cannot forget its entry. Others who write are what a worker does,
/// entries of refusals and their counts, messages, contacts whose import was entered before, and the blanking of messages before an erasure is.
#[test]
fn few_write_without_an_entry() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain");
    let mut found = BTreeSet::new();
    for path in rust_files(&folder) {
        let source = std::fs::read_to_string(&path).expect("a source file");
        let ways = ["begin_write", "begin_for_messages(", "db.write"];
        if ways.iter().any(|way| source.contains(way)) {
            let path = path.strip_prefix(&folder).expect("a file of the folder");
            found.insert(path.to_str().expect("text").to_owned());
        }
    }
    let known = [
        "api_key/authentication.rs",
        "audit_log/refused_call.rs",
        "audit_log/refusals.rs",
        "contact/csv.rs",
        "contact/erasure.rs",
        "contact/merge.rs",
        "events/postgres.rs",
        "message/backlog.rs",
        "message/cancel.rs",
        "message/delivery/claim.rs",
        "message/delivery/settle.rs",
        "message/test_retention.rs",
        "opt_out/inbound.rs",
        "phone_number/inventory_import.rs",
        "phone_number/renewal.rs",
    ];
    assert_eq!(found, BTreeSet::from(known.map(str::to_owned)));
}

/// Sends leave none, accepted or refused.
#[db_test]
#[tokio::test]
async fn messages_leave_none(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(1000).await;
    let entries = count(&t).await;

    assert!(t.sends(&team.key).await);
    assert!(!t.send(&team.key, json!({ "to": "x", "text": "Hi" })).await.refusals().is_empty());
    for query in [
        "mutation { sendMessages(input: [{ to: \"+12025550123\", text: \"Hi\" }]) { replayed } }",
        "mutation { cancelMessage(id: \"not-an-id\") { errors { code } } }",
    ] {
        assert_eq!(t.ask(&team.key, query).await.body["errors"], json!(null));
    }
    let forbidden =
        t.ask(&t.operator, "mutation { cancelMessage(id: \"x\") { __typename } }").await;
    assert_eq!(forbidden.codes(), ["FORBIDDEN"]);

    assert_eq!(count(&t).await, entries);
    t.close().await;
}

/// Whoever may not call a mutation leaves an entry of that, whether its role lacks it or its key is a TEST one,
/// and changes nothing.
#[db_test]
#[tokio::test]
async fn who_may_not_is_entered(database: Database) {
    let t = TestApp::start(database).await;
    let stage = staged(&t).await;
    let sub_test = t.api_key(&stage.team, &stage.sub.id, "TEST").await;
    let main_test = t.api_key(&stage.team, &stage.team.main_account_id, "TEST").await;
    let before = t.everything().await;

    for call in calls(&stage) {
        let of_main = Some(json!({ "id": stage.team.main_account_id }));
        let of_sub = Some(json!({ "id": stage.sub.id }));
        for (key, actor, account) in [
            (&sub_test, "SUB_ACCOUNT", of_sub.clone()),
            (&main_test, "MAIN_ACCOUNT", of_main),
            (&stage.sub.key, "SUB_ACCOUNT", of_sub),
            (&stage.team.key, "MAIN_ACCOUNT", None),
            (&t.operator, "OPERATOR", None),
        ] {
            let may_main = call.key == stage.sub.key && *key == stage.team.key;
            if key == call.key(&t) || may_main {
                continue;
            }
            let entries = count(&t).await;
            let answer = call.ask(&t, key, &call.accepted, "who").await;
            assert_eq!(answer.codes(), ["FORBIDDEN"], "{} by {actor}", call.mutation);
            assert_eq!(count(&t).await, entries + 1, "{} by {actor}", call.mutation);
            let entry = newest(&t, &t.operator, 1).await.remove(0);
            let shown = ["action", "outcome", "code", "actor", "requestId", "before", "after"];
            let shown = json!(shown.map(|name| entry[name].clone()));
            let expected = json!([call.action(), "REFUSED", "FORBIDDEN", actor, "who", null, null]);
            assert_eq!(shown, expected);
            if actor == "SUB_ACCOUNT" || (*key == main_test && call.key == stage.sub.key) {
                let expected = if call.mutation == "setQuietHours" && *key == main_test {
                    json!(null)
                } else {
                    json!(account)
                };
                assert_eq!(entry["account"], expected, "{} by {actor}", call.mutation);
            }
        }
    }

    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// An entry and its change are one: where the one cannot be written, the other is not. A refusal is answered all
/// the same.
#[db_test]
#[tokio::test]
async fn what_cannot_be_entered_is_not_done(database: Database) {
    let t = TestApp::start(database).await;
    let stage = staged(&t).await;
    t.execute("ALTER TABLE audit_entry RENAME TO gone").await;
    let before = t.everything().await;

    for call in calls(&stage) {
        let answer = call.ask(&t, call.key(&t), &call.accepted, "a").await;
        assert_eq!(answer.codes(), ["INTERNAL_SERVER_ERROR"], "{}", call.mutation);
        if call.mutation == "deleteContact" {
            // Its first step locks the contact until a repeat finishes the deletion.
            t.execute("UPDATE contact SET busy_with = NULL").await;
        }
        assert_eq!(t.everything().await, before, "{}", call.mutation);
        let answer = call.ask(&t, call.key(&t), &call.refused, "a").await;
        let code = answer.body["data"][call.mutation]["errors"][0]["code"].as_str();
        assert_eq!(code.or(answer.codes().first().copied()), Some(call.code));
    }

    t.execute("ALTER TABLE gone RENAME TO audit_entry").await;
    t.close().await;
}

/// What changes nothing and is no error leaves an entry that says so; so does a repeated movement of money, and
/// what came of the first stays the only one done.
#[db_test]
#[tokio::test]
async fn repeats_are_entered_as_such(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let entry_of = async |key: &str| {
        let entry = newest(&t, key, 1).await.remove(0);
        json!(["action", "outcome", "before", "after"].map(|name| entry[name].clone()))
    };

    for mutation in ["suspendSubAccount", "reactivateSubAccount", "deactivateSubAccount"] {
        let query = format!(
            "mutation {{ {mutation}(account: {{ id: \"{}\" }}) {{ errors {{ code }} }} }}",
            sub.id
        );
        for _ in 0..2 {
            assert_eq!(t.ask(&team.key, &query).await.refusals(), [""; 0]);
        }
        let nothing = entry_of(&team.key).await;
        assert_eq!(nothing, json!([nothing[0], "DONE", null, null]), "{mutation}");
    }
    let first = t.top_up(&team, json!(5), "once").await;
    let again = t.top_up(&team, json!(5), "once").await;
    assert_eq!(again.data()["topUpTeam"]["replayed"], true);
    assert_eq!(entry_of(&team.key).await, json!(["TOP_UP_TEAM", "REPLAYED", null, null]));
    let target = newest(&t, &team.key, 1).await[0]["targetId"].clone();
    assert_eq!(target, first.data()["topUpTeam"]["entry"]["id"]);
    assert_eq!(t.top_up(&team, json!(6), "once").await.refusals(), ["IDEMPOTENCY_CONFLICT"]);
    let entry = newest(&t, &team.key, 1).await.remove(0);
    assert_eq!(
        (&entry["outcome"], &entry["code"]),
        (&json!("REFUSED"), &json!("IDEMPOTENCY_CONFLICT"))
    );
    t.stock("+12025550180,US,LOCAL,SMS,1,1\n").await;
    let input = json!({ "number": "+12025550180", "idempotencyKey": "once" });
    let first = t.purchase(&team.key, input.clone()).await;
    let number = text(&first.data()["purchasePhoneNumber"]["phoneNumber"]["id"]);
    assert_eq!(t.purchase(&team.key, input).await.data()["purchasePhoneNumber"]["replayed"], true);
    let replayed = json!(["PURCHASE_PHONE_NUMBER", "REPLAYED", null, null]);
    assert_eq!(entry_of(&team.key).await, replayed);
    assert_eq!(newest(&t, &team.key, 1).await[0]["targetId"], json!(number));
    let stays = format!("input: {{ to: {{ id: \"{}\" }} }}", team.main_account_id);
    for (call, action, count) in [
        (format!("transferPhoneNumber(id: \"{number}\", {stays})"), "TRANSFER_PHONE_NUMBER", 1),
        (format!("releasePhoneNumber(id: \"{number}\")"), "RELEASE_PHONE_NUMBER", 2),
    ] {
        for _ in 0..count {
            let query = format!("mutation {{ {call} {{ errors {{ code }} }} }}");
            assert_eq!(t.ask(&team.key, &query).await.refusals(), [""; 0]);
        }
        assert_eq!(entry_of(&team.key).await, json!([action, "DONE", null, null]));
    }
    let done = "SELECT COUNT(*) FROM audit_entry WHERE action = 'TOP_UP_TEAM' AND outcome = 'DONE'";
    assert_eq!(t.number(done).await, 1);
    t.close().await;
}

/// The database itself refuses to change or delete an entry, and one that contradicts itself.
#[db_test]
#[tokio::test]
async fn the_log_is_append_only(database: Database) {
    let t = TestApp::start(database).await;
    staged(&t).await;
    let before = newest(&t, &t.operator, 100).await;

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

    assert_eq!(newest(&t, &t.operator, 100).await, before);
    t.close().await;
}

/// No key, no hash, no address, no name of a contact, no metadata and no free text of a refused call is in it.
#[db_test]
#[tokio::test]
async fn the_log_holds_no_secrets(database: Database) {
    let t = TestApp::start(database).await;
    let stage = staged(&t).await;
    for call in calls(&stage) {
        call.ask(&t, call.key(&t), &call.accepted, "a").await;
        call.ask(&t, call.key(&t), &call.refused, "a").await;
    }
    let odd = "mutation { updateSubAccount(account: { externalId: \"a secret\" }, \
               input: { name: \"a secret\" }) { errors { code } } }";
    assert_eq!(t.ask(&stage.team.key, odd).await.refusals(), ["NOT_FOUND"]);

    let query = format!("{{ auditLog(first: 100) {{ totalCount nodes {{ {FIELDS} }} }} }}");
    let log = t.ask(&t.operator, &query).await;
    assert_eq!(log.data()["auditLog"]["totalCount"], count(&t).await);
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
    t.close().await;
}

/// What is refused before it is executed is entered or counted for each mutation that it calls, over sockets
/// too, and costs what it would; what is no call leaves nothing.
#[db_test]
#[tokio::test]
async fn forbidden_documents_are_bounded(database: Database) {
    let http = http::Settings { key_rate: 1, account_rate: 0, ..http::Settings::default() };
    let setup = Setup { http, ..Setup::default() };
    let t = TestApp::start_with(database, setup).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let entries = count(&t).await;

    let several = "mutation { a: createTeam(input: {}) { __typename } ...F \
                   ... on Mutation { setQuietHours { errors { code } } } } \
                   fragment F on Mutation { revokeApiKey(wrong: 1) { apiKey { id } } \
                   b: createTeam @skip(if: true) { __typename } }";
    assert_eq!(t.ask(&sub.key, several).await.codes(), ["FORBIDDEN"]);
    let counted = async || -> Vec<Value> {
        write_counts(&t.app).await.expect("the counts are written");
        let names = ["action", "code", "count"];
        let entries = newest(&t, &t.operator, 2).await;
        let of_sub = json!({ "id": sub.id });
        assert!(entries.iter().all(|entry| entry["account"] == of_sub));
        entries.iter().map(|entry| json!(names.map(|name| entry[name].clone()))).collect()
    };
    let expected = |count: usize| {
        [json!(["REVOKE_API_KEY", "FORBIDDEN", 1]), json!(["CREATE_TEAM", "FORBIDDEN", count])]
    };
    assert_eq!(counted().await, expected(2));
    assert_eq!(count(&t).await, entries + 2);

    for (query, code) in [
        ("mutation { createTeam", "GRAPHQL_PARSE_FAILED"),
        ("mutation { createTeams { __typename } }", "GRAPHQL_VALIDATION_FAILED"),
        (
            "mutation { setQuietHours(input: { from: 1 }) { errors { code } } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("{ subAccounts { totalCount } }", "FORBIDDEN"),
        ("query($in: CreateTeamInput) { account { id } }", "FORBIDDEN"),
        ("mutation { setQuietHours { account { externalId } } }", "FORBIDDEN"),
    ] {
        assert_eq!(t.ask(&sub.key, query).await.codes()[0], code, "{query}");
    }
    assert_eq!(counted().await, expected(2));

    let served = t.serve().await;
    let mut socket = Socket::with_key(served.address, &sub.key).await;
    let query = "mutation { createTeam(input: { name: \"No\" }) { __typename } }";
    let payload = json!({ "query": query });
    socket.send(json!({ "id": "1", "type": "subscribe", "payload": payload })).await;
    socket.next().await;
    assert_eq!(counted().await, expected(3));

    // A bucket of 5,000: a dear document fits a few times.
    let dear = "mutation { createTeam(input: { name: \"No\" }) { mainAccount { apiKeys(first: 100) \
                { nodes { id name prefix lastFour createdAt expiresAt revokedAt lastUsedAt } } } } }";
    let mut tried = 0;
    while t.ask(&sub.key, dear).await.codes() == ["FORBIDDEN"] {
        tried += 1;
        assert!(tried < 20, "it has no bound");
    }
    assert_eq!(t.ask(&sub.key, dear).await.codes(), ["RATE_LIMITED"]);
    assert_eq!(counted().await, expected(3 + tried));
    assert_eq!(count(&t).await, entries + 2);
    t.close().await;
}

/// A key that was revoked a moment ago leaves an entry where it tries to change something.
#[db_test]
#[tokio::test]
async fn a_revoked_key_that_tries_is_entered(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let second = t.api_key(&team, &team.main_account_id, "LIVE").await;
    assert_eq!(t.ask(&second, "{ viewer { role } }").await.status, 200);
    let tail = &second[second.len() - 4..];
    let revoke = format!("UPDATE api_key SET revoked_at = created_at WHERE last_four = '{tail}'");
    t.app.db.write.execute_unprepared(&revoke).await.expect("the statement runs");

    let refused = t.create_sub_account(&second, json!({ "name": "No" })).await;

    assert_eq!(refused.codes(), ["UNAUTHENTICATED"]);
    let entry = newest(&t, &team.key, 1).await.remove(0);
    assert_eq!(
        (&entry["action"], &entry["outcome"], &entry["code"]),
        (&json!("CREATE_SUB_ACCOUNT"), &json!("REFUSED"), &json!("UNAUTHENTICATED"))
    );
    t.close().await;
}
