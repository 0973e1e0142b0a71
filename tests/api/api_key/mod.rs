//! API keys: a main account creates, renames, rotates and revokes them. The full key is shown only once.

mod expiry;
mod revocation;
mod revocation_monitor;
mod rotation;

use axum::http::StatusCode;
use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, TestTeam, text};

const NOTHING: [&str; 0] = [];
const KEY: &str = "id name prefix lastFour environment createdAt expiresAt revokedAt";

async fn create(t: &TestApp, team: &TestTeam, account: &Value, input: Value) -> Answer {
    let query = format!(
        "mutation($account: AccountRef!, $input: CreateApiKeyInput!) {{ createApiKey(account: \
         $account, input: $input) {{ apiKey {{ {KEY} }} plainKey errors {{ code field }} }} }}"
    );
    t.ask_with(&team.key, &query, json!({ "account": account, "input": input })).await
}

async fn rotate(t: &TestApp, team: &TestTeam, id: &str, grace_seconds: Option<i32>) -> Answer {
    let query = format!(
        "mutation($id: ID!, $input: RotateApiKeyInput) {{ rotateApiKey(id: $id, input: $input) \
         {{ apiKey {{ {KEY} }} plainKey errors {{ code field }} }} }}"
    );
    let input = grace_seconds.map(|seconds| json!({ "graceSeconds": seconds }));
    t.ask_with(&team.key, &query, json!({ "id": id, "input": input })).await
}

async fn revoke(t: &TestApp, key: &str, id: &str) -> Answer {
    let query = format!(
        "mutation($id: ID!) {{ revokeApiKey(id: $id) {{ apiKey {{ {KEY} }} errors {{ code field }} }} }}"
    );
    t.ask_with(key, &query, json!({ "id": id })).await
}

/// Creates a key for the account, and returns the key's id and the full key.
async fn made(t: &TestApp, team: &TestTeam, account_id: &str, input: Value) -> (String, String) {
    let answer = create(t, team, &json!({ "id": account_id }), input).await;
    assert_eq!(answer.refusals(), NOTHING);
    let payload = &answer.data()["createApiKey"];
    (text(&payload["apiKey"]["id"]), text(&payload["plainKey"]))
}

/// Returns a sub-account's keys, newest first.
async fn keys_of(t: &TestApp, team: &TestTeam, account_id: &str, fields: &str) -> Value {
    let query = format!(
        "query($id: ID!) {{ subAccount(by: {{ id: $id }}) {{ apiKeys(first: 100) {{ nodes {{ {fields} }} }} }} }}"
    );
    let answer = t.ask_with(&team.key, &query, json!({ "id": account_id })).await;
    answer.data()["subAccount"]["apiKeys"]["nodes"].clone()
}

async fn works(t: &TestApp, key: &str) -> bool {
    let answer = t.ask(key, "{ viewer { role } }").await;
    if answer.status == StatusCode::UNAUTHORIZED {
        assert_eq!(answer.codes(), ["UNAUTHENTICATED"]);
    }
    answer.status == StatusCode::OK
}

#[db_test]
async fn keys_of_both_environments_are_created_for_sub_accounts_and_the_main_account(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "externalId": "c-1" })).await;
    let (main, named) = (json!({ "id": team.main_account_id }), json!({ "externalId": "c-1" }));

    for (account, account_id, environment, kind, role) in [
        (&named, &sub.id, json!(null), "tg_live_sub_", "SUB_ACCOUNT"),
        (&named, &sub.id, json!("TEST"), "tg_test_sub_", "SUB_ACCOUNT"),
        (&main, &team.main_account_id, json!("LIVE"), "tg_live_", "MAIN_ACCOUNT"),
        (&main, &team.main_account_id, json!("TEST"), "tg_test_", "MAIN_ACCOUNT"),
    ] {
        let input = json!({ "name": " Billing ", "environment": environment });
        let answer = create(t, &team, account, input).await;

        assert_eq!(answer.refusals(), NOTHING);
        let payload = &answer.data()["createApiKey"];
        let key = text(&payload["plainKey"]);
        assert_eq!(key.len(), kind.len() + 36);
        let environment = if kind.contains("test") { "TEST" } else { "LIVE" };
        let prefix = text(&payload["apiKey"]["prefix"]);
        assert!(prefix.starts_with(kind) && key.starts_with(&prefix));
        assert_eq!(
            payload["apiKey"],
            json!({
                "id": payload["apiKey"]["id"], "name": "Billing", "prefix": prefix,
                "lastFour": key[key.len() - 4..], "environment": environment,
                "createdAt": "2026-03-16T12:00:00.000Z", "expiresAt": null, "revokedAt": null,
            })
        );
        let viewer = t.ask(&key, "{ viewer { role environment account { id } } }").await;
        let account = json!({ "id": account_id });
        assert_eq!(
            viewer.data()["viewer"],
            json!({ "role": role, "environment": environment, "account": account })
        );
    }
}

#[db_test]
async fn invalid_input_for_a_key_is_refused_and_changes_nothing(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let account = json!({ "id": sub.id });
    let rename = "mutation($id: ID!, $name: String) { updateApiKey(id: $id, input: { name: $name }) \
                  { apiKey { name } errors { code field } } }";
    let before = t.everything().await;

    for name in ["", "  ", "a\nb", "a\0b", &"é".repeat(201)] {
        let created = create(t, &team, &account, json!({ "name": name })).await;
        let updated =
            t.ask_with(&team.key, rename, json!({ "id": sub.key_id, "name": name })).await;
        for (answer, field) in [(created, "createApiKey"), (updated, "updateApiKey")] {
            assert_eq!(answer.refusals(), ["NAME_INVALID"], "{name:?}");
            assert_eq!(answer.data()[field]["errors"][0]["field"], json!(["input", "name"]));
        }
    }
    for expiry in ["2026-03-16T12:00:00Z", "2026-03-16T12:30:00+01:00", "1970-01-01T00:00:00Z"] {
        let input = json!({ "name": "Late", "expiresAt": expiry });
        let answer = create(t, &team, &account, input).await;
        assert_eq!(answer.refusals(), ["EXPIRY_INVALID"], "{expiry}");
        let field = &answer.data()["createApiKey"]["errors"][0]["field"];
        assert_eq!(*field, json!(["input", "expiresAt"]));
    }
    assert_eq!(t.everything().await, before);

    for (name, kept) in [(json!("Renamed"), "Renamed"), (json!(null), "Renamed")] {
        let renamed =
            t.ask_with(&team.key, rename, json!({ "id": sub.key_id, "name": name })).await;
        assert_eq!(renamed.data()["updateApiKey"]["apiKey"]["name"], kept);
    }
    assert_eq!(keys_of(t, &team, &sub.id, "name").await, json!([{ "name": "Renamed" }]));

    t.execute("UPDATE account SET status = 'INACTIVE' WHERE is_sub_account").await;
    let before = t.everything().await;
    let answer = create(t, &team, &account, json!({ "name": "Late" })).await;
    assert_eq!(answer.refusals(), ["ACCOUNT_INACTIVE"]);
    assert_eq!(t.everything().await, before);
}

#[db_test]
async fn an_account_has_at_most_100_usable_keys(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let account = json!({ "id": sub.id });
    for _ in 0..99 {
        t.api_key(&team, &sub.id, "TEST").await;
    }

    let before = t.everything().await;
    let refused = create(t, &team, &account, json!({ "name": "One more" })).await;
    assert_eq!(refused.refusals(), ["TOO_MANY_KEYS"]);
    assert_eq!(rotate(t, &team, &sub.key_id, Some(1)).await.refusals(), ["TOO_MANY_KEYS"]);
    assert_eq!(t.everything().await, before);

    let rotated = rotate(t, &team, &sub.key_id, Some(0)).await;
    assert_eq!(rotated.refusals(), NOTHING);
    let new_id = text(&rotated.data()["rotateApiKey"]["apiKey"]["id"]);
    assert_eq!(revoke(t, &team.key, &new_id).await.refusals(), NOTHING);
    made(t, &team, &sub.id, json!({ "name": "The hundredth" })).await;
    let refused = create(t, &team, &account, json!({ "name": "One more" })).await;
    assert_eq!(refused.refusals(), ["TOO_MANY_KEYS"]);
}

/// A full key is neither returned by later requests nor stored in the database.
#[db_test]
async fn a_key_is_shown_in_full_only_when_it_is_created(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let rotated = rotate(t, &team, &sub.key_id, Some(60)).await;
    let new = text(&rotated.data()["rotateApiKey"]["plainKey"]);
    let viewer = format!("{{ viewer {{ apiKey {{ {KEY} lastUsedAt }} }} }}");
    let lists = format!(
        "{{ list: account {{ apiKeys {{ nodes {{ {KEY} }} }} }} \
         subAccounts {{ nodes {{ apiKeys {{ nodes {{ {KEY} }} }} }} }} }}"
    );

    let mut shown = format!("{:?}", t.everything().await);
    for (key, query) in
        [(&team.key, &viewer), (&sub.key, &viewer), (&t.operator, &viewer), (&team.key, &lists)]
    {
        let answer = t.ask(key, query).await;
        shown.push_str(&answer.data().to_string());
    }
    let shown = shown.to_lowercase();

    for key in [&team.key, &sub.key, &new, &t.operator] {
        let secret = key.rsplit('_').next().expect("a key ends with its secret").to_lowercase();
        let bytes: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(
            shown.contains(&secret[..4]) && shown.contains(&secret[32..]),
            "the secret's ends are shown for recognition"
        );
        assert!(!shown.contains(&secret[..8]) && !shown.contains(&secret[28..]));
        assert!(!shown.contains(&bytes));
    }
}

#[db_test]
async fn the_last_use_of_a_key_is_written_at_most_once_a_minute(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let noted = async |t: &TestApp| keys_of(t, &team, &sub.id, "lastUsedAt").await;

    t.note_key_uses().await;
    assert_eq!(noted(t).await, json!([{ "lastUsedAt": null }]));
    for (step, last_used_at) in [
        (0, "2026-03-16T12:00:00.000Z"),
        (59, "2026-03-16T12:00:00.000Z"),
        (1, "2026-03-16T12:01:00.000Z"),
        (30, "2026-03-16T12:01:00.000Z"),
        (3600, "2026-03-16T13:01:30.000Z"),
    ] {
        t.step(TimeDelta::seconds(step));
        // Entries in the key cache expire by the real clock, not by the test's clock, so the test empties the cache.
        t.app.keys.forget_all();
        assert!(works(t, &sub.key).await && works(t, &sub.key).await);
        t.note_key_uses().await;
        assert_eq!(noted(t).await, json!([{ "lastUsedAt": last_used_at }]));
    }
}

#[db_test]
async fn two_keys_of_one_account_share_its_total_limit_and_messages(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 2 })).await;
    let other = t.api_key(&team, &sub.id, "LIVE").await;

    assert!(t.sends(&sub.key).await && t.sends(&other).await);

    for key in [&sub.key, &other] {
        let refused = t.send(key, json!({ "to": "+12025550123", "text": "Hello" })).await;
        assert_eq!(refused.refusals(), ["CREDIT_LIMIT_REACHED"]);
        let own = t.ask(key, "{ balance { totalSpent } messages { totalCount } }").await;
        let expected = json!({ "balance": { "totalSpent": 2 }, "messages": { "totalCount": 2 } });
        assert_eq!(*own.data(), expected);
    }
}
