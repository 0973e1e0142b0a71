//! Every mutation, except those that send or cancel messages, leaves one audit log entry, whether the mutation succeeds
//! or is refused.

use std::{collections::BTreeSet, path::Path};

use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use db_test::db_test;
use serde_json::{Value, json};

use super::{
    calls::{calls, staged},
    count, newest,
};
use crate::{
    harness::{TestApp, text},
    layers::rust_files,
};

/// Mutations that leave no audit log entry, because the stored messages are the record of these calls.
pub const MESSAGES: [&str; 3] = ["sendMessage", "sendMessages", "cancelMessage"];

/// Returns the first `id` in the data of a response.
fn id_in(value: &Value) -> Option<&str> {
    match value {
        Value::Object(object) => {
            let own = object.get("id").and_then(Value::as_str);
            own.or_else(|| object.values().find_map(id_in))
        }
        // An object that the mutation added to a list is the last one in the list.
        Value::Array(values) => values.iter().rev().find_map(id_in),
        _ => None,
    }
}

/// Replaces ids that the test cannot predict with `(id)`.
fn with_unknown_ids_hidden(mut settings: Value) -> Value {
    for name in ["apiKeyId", "newApiKeyId", "mainAccountId"] {
        if let Some(id) = settings.get_mut(name) {
            assert!(uuid::Uuid::try_parse(id.as_str().expect("an id")).is_ok());
            *id = json!("(id)");
        }
    }
    settings
}

/// The test also fails if a mutation in the schema has no row in `calls`.
#[db_test]
async fn each_mutation_leaves_one_entry_when_done_and_one_when_refused(t: &TestApp) {
    let stage = staged(t).await;
    let calls = calls(&stage);
    let mut tried: BTreeSet<&str> = calls.iter().map(|call| call.mutation).collect();
    tried.extend(MESSAGES);
    assert_eq!(mutations(), tried.into_iter().map(str::to_owned).collect::<BTreeSet<_>>());

    for call in &calls {
        let key = call.key(t);
        let by = t.ask(key, "{ viewer { apiKey { id } role } }").await;
        let by = &by.data()["viewer"];
        let entries = count(t).await;

        let refused = call.ask(t, key, &call.refused, "the-refused").await;

        let payload = &refused.body["data"][call.mutation];
        let code = payload["errors"][0]["code"].as_str();
        let code = code.or(refused.codes().first().copied());
        assert_eq!(code, Some(call.code), "{}: {}", call.mutation, refused.body);
        assert_eq!(count(t).await, entries + 1, "{}", call.mutation);
        let is_of_team = call.mutation != "createTeam";
        let team = is_of_team.then(|| json!({ "id": stage.team.id }));
        let (account, target) = call.named;
        let expected = json!({
            "action": call.action(), "outcome": "REFUSED", "code": call.code, "count": 1, "actor": by["role"],
            "actorKey": by["apiKey"], "team": team, "account": account.map(|id| json!({ "id": id })),
            "targetId": target, "before": null, "after": null, "requestId": "the-refused",
            "createdAt": "2026-03-16T12:00:00.000Z",
        });
        assert_eq!(newest(t, &t.operator, 1).await, [expected]);

        let accepted = call.ask(t, key, &call.accepted, "the-accepted").await;

        assert_eq!(accepted.body["errors"], json!(null), "{}: {}", call.mutation, accepted.body);
        assert_eq!(count(t).await, entries + 2, "{}", call.mutation);
        let (account, target, before, after) = &call.entered;
        let made = id_in(accepted.data());
        let target = target.or(made);
        let account = if call.mutation == "createSubAccount" { made } else { *account };
        let team = if is_of_team { Some(stage.team.id.as_str()) } else { made };
        let mut entry = newest(t, &t.operator, 1).await.remove(0);
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
}

/// If a field in a mutation's response fails, the mutation still makes its change, and the audit log entry records a
/// success.
#[db_test]
async fn a_mutation_whose_answer_fails_is_not_entered_as_refused(t: &TestApp) {
    let team = t.team(0).await;
    let entries = count(t).await;

    let query = "mutation { createSubAccount(input: { name: \"New\" }) { account { apiKeys(first: 101) { totalCount } } } }";
    let answer = t.ask(&team.key, query).await;

    assert_eq!(answer.codes(), ["BAD_USER_INPUT"]);
    assert_eq!(answer.body["data"], json!({ "createSubAccount": { "account": null } }));
    assert_eq!(count(t).await, entries + 1);
    let entry = newest(t, &team.key, 1).await.remove(0);
    assert_eq!(
        (&entry["action"], &entry["outcome"]),
        (&json!("CREATE_SUB_ACCOUNT"), &json!("DONE"))
    );
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

/// A transaction that is begun by a function of `authentication` always writes an audit log entry. The other files also
/// begin transactions without an entry: for the work of the worker, for refusals and messages, for further batches of
/// an import that already has its entry, and for the single steps of an erasure or merge.
#[test]
fn only_known_files_write_without_an_audit_entry() {
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
        "audit_log/refusals.rs",
        "audit_log/refused_call.rs",
        "contact/csv.rs",
        "contact/erasure.rs",
        "contact/merge.rs",
        "events/postgres.rs",
        "message/backlog.rs",
        "message/delivery/claim.rs",
        "message/delivery/settle.rs",
        "message/cancel.rs",
        "message/test_retention.rs",
        "opt_out/inbound.rs",
        "phone_number/inventory_import.rs",
        "phone_number/renewal.rs",
    ];
    assert_eq!(found, BTreeSet::from(known.map(str::to_owned)));
}

#[db_test]
async fn sending_a_message_leaves_no_entry(t: &TestApp) {
    let team = t.team(1000).await;
    let entries = count(t).await;

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

    assert_eq!(count(t).await, entries);
}

#[db_test]
async fn a_repeat_without_effect_leaves_an_entry_without_changes(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let entry_of = async |key: &str| {
        let entry = newest(t, key, 1).await.remove(0);
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
    let target = newest(t, &team.key, 1).await[0]["targetId"].clone();
    assert_eq!(target, first.data()["topUpTeam"]["entry"]["id"]);
    assert_eq!(t.top_up(&team, json!(6), "once").await.refusals(), ["IDEMPOTENCY_CONFLICT"]);
    let entry = newest(t, &team.key, 1).await.remove(0);
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
    assert_eq!(newest(t, &team.key, 1).await[0]["targetId"], json!(number));
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
}
