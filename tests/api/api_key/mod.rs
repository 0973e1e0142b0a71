//! API keys: made, renamed, rotated and revoked by the main account; shown in full once.

use axum::http::StatusCode;
use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{Answer, Database, Postgres, Sqlite, TestApp, TestTeam, text};

pub(crate) mod revocation_monitor;

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

/// A new key of the account: its id and the key.
async fn made(t: &TestApp, team: &TestTeam, account_id: &str, input: Value) -> (String, String) {
    let answer = create(t, team, &json!({ "id": account_id }), input).await;
    assert_eq!(answer.refusals(), NOTHING);
    let payload = &answer.data()["createApiKey"];
    (text(&payload["apiKey"]["id"]), text(&payload["plainKey"]))
}

/// The keys of a sub-account, newest first.
async fn keys_of(t: &TestApp, team: &TestTeam, account_id: &str, fields: &str) -> Value {
    let query = format!(
        "query($id: ID!) {{ subAccount(by: {{ id: $id }}) {{ apiKeys(first: 100) {{ nodes {{ {fields} }} }} }} }}"
    );
    let answer = t.ask_with(&team.key, &query, json!({ "id": account_id })).await;
    answer.data()["subAccount"]["apiKeys"]["nodes"].clone()
}

async fn own_id(t: &TestApp, key: &str) -> String {
    text(&t.ask(key, "{ viewer { apiKey { id } } }").await.data()["viewer"]["apiKey"]["id"])
}

async fn works(t: &TestApp, key: &str) -> bool {
    let answer = t.ask(key, "{ viewer { role } }").await;
    if answer.status == StatusCode::UNAUTHORIZED {
        assert_eq!(answer.codes(), ["UNAUTHENTICATED"]);
    }
    answer.status == StatusCode::OK
}

/// C6, C16, C19, R16, R19: keys of either environment, for a sub-account and for the main account
/// itself.
#[db_test]
#[tokio::test]
async fn keys_are_made_for_sub_accounts_and_the_main_account_itself(database: Database) {
    let t = TestApp::start(database).await;
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
        let answer = create(&t, &team, account, input).await;

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
    t.close().await;
}

/// C6, R4: what a key is not made for, or not changed to.
#[db_test]
#[tokio::test]
async fn an_invalid_key_is_refused_by_name_and_changes_nothing(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let account = json!({ "id": sub.id });
    let rename = "mutation($id: ID!, $name: String) { updateApiKey(id: $id, input: { name: $name }) \
                  { apiKey { name } errors { code field } } }";
    let before = t.everything().await;

    for name in ["", "  ", "a\nb", "a\0b", &"é".repeat(201)] {
        let created = create(&t, &team, &account, json!({ "name": name })).await;
        let updated =
            t.ask_with(&team.key, rename, json!({ "id": sub.key_id, "name": name })).await;
        for (answer, field) in [(created, "createApiKey"), (updated, "updateApiKey")] {
            assert_eq!(answer.refusals(), ["NAME_INVALID"], "{name:?}");
            assert_eq!(answer.data()[field]["errors"][0]["field"], json!(["input", "name"]));
        }
    }
    for expiry in ["2026-03-16T12:00:00Z", "2026-03-16T12:30:00+01:00", "1970-01-01T00:00:00Z"] {
        let input = json!({ "name": "Late", "expiresAt": expiry });
        let answer = create(&t, &team, &account, input).await;
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
    assert_eq!(keys_of(&t, &team, &sub.id, "name").await, json!([{ "name": "Renamed" }]));

    t.execute("UPDATE account SET status = 'INACTIVE' WHERE is_sub_account").await;
    let before = t.everything().await;
    let answer = create(&t, &team, &account, json!({ "name": "Late" })).await;
    assert_eq!(answer.refusals(), ["ACCOUNT_INACTIVE"]);
    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// R17: a key ends at its expiry, to the moment.
#[db_test]
#[tokio::test]
async fn an_expired_key_is_not_let_in(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let input = json!({ "name": "Short", "expiresAt": "2026-03-16T12:01:00Z" });
    let (id, key) = made(&t, &team, &sub.id, input).await;

    t.step(TimeDelta::milliseconds(59_999));
    assert!(works(&t, &key).await);
    t.step(TimeDelta::milliseconds(1));
    assert!(!works(&t, &key).await);

    assert!(works(&t, &sub.key).await);
    let before = t.everything().await;
    assert_eq!(rotate(&t, &team, &id, None).await.refusals(), ["KEY_REVOKED"]);
    assert_eq!(t.everything().await, before);
    t.close().await;
}

/// C16, R19: without a grace the old key ends at once; the new one is like it.
#[db_test]
#[tokio::test]
async fn a_rotation_without_grace_ends_the_old_key_at_once(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let input = json!({
        "name": "Nightly", "environment": "TEST", "expiresAt": "2026-03-17T00:00:00Z",
    });
    let (id, old) = made(&t, &team, &sub.id, input).await;

    let answer = rotate(&t, &team, &id, None).await;

    assert_eq!(answer.refusals(), NOTHING);
    let payload = &answer.data()["rotateApiKey"];
    let key = &payload["apiKey"];
    assert_eq!([&key["name"], &key["environment"]], ["Nightly", "TEST"]);
    assert_eq!(key["expiresAt"], "2026-03-17T00:00:00.000Z");
    assert_ne!(key["id"], json!(id));
    assert!(works(&t, &text(&payload["plainKey"])).await && !works(&t, &old).await);

    // The main account's last live key too, which cannot be revoked.
    let id = own_id(&t, &team.key).await;
    let answer = rotate(&t, &team, &id, Some(0)).await;
    assert!(works(&t, &text(&answer.data()["rotateApiKey"]["plainKey"])).await);
    assert!(!works(&t, &team.key).await);
    t.close().await;
}

/// C16: with a grace the old key works until then, or until its own expiry if that is sooner.
#[db_test]
#[tokio::test]
async fn a_rotation_with_grace_keeps_the_old_key_that_long(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let short = json!({ "name": "Short", "expiresAt": "2026-03-16T12:00:30Z" });
    let (short_id, short) = made(&t, &team, &sub.id, short).await;

    let before = t.everything().await;
    for grace in [-1, 2_592_001, i32::MIN, i32::MAX] {
        let answer = rotate(&t, &team, &sub.key_id, Some(grace)).await;
        assert_eq!(answer.refusals(), ["GRACE_INVALID"], "{grace}");
        let field = &answer.data()["rotateApiKey"]["errors"][0]["field"];
        assert_eq!(*field, json!(["input", "graceSeconds"]));
    }
    assert_eq!(t.everything().await, before);

    let long = rotate(&t, &team, &sub.key_id, Some(60)).await;
    let new = text(&long.data()["rotateApiKey"]["plainKey"]);
    assert_eq!(long.data()["rotateApiKey"]["apiKey"]["expiresAt"], json!(null));
    let rotated = rotate(&t, &team, &short_id, Some(2_592_000)).await;
    let of_short = &rotated.data()["rotateApiKey"]["apiKey"]["expiresAt"];
    assert_eq!(*of_short, "2026-03-16T12:00:30.000Z");
    // Newest first: of the short key, of the first key, the short key, the first key.
    let (half, one) = ("2026-03-16T12:00:30.000Z", "2026-03-16T12:01:00.000Z");
    let ends = [json!(half), json!(null), json!(half), json!(one)];
    let ends = ends.map(|end| json!({ "expiresAt": end, "revokedAt": null }));
    assert_eq!(keys_of(&t, &team, &sub.id, "expiresAt revokedAt").await, json!(ends));
    t.step(TimeDelta::seconds(30));
    assert!(!works(&t, &short).await && works(&t, &sub.key).await);
    t.step(TimeDelta::milliseconds(29_999));
    assert!(works(&t, &sub.key).await);
    t.step(TimeDelta::milliseconds(1));
    assert!(!works(&t, &sub.key).await && works(&t, &new).await);
    t.close().await;
}

/// C6, R4, R17: revoked at once and for good; a repeat changes nothing; other keys live on.
#[db_test]
#[tokio::test]
async fn a_revoked_key_is_not_let_in_again(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let other = t.api_key(&team, &sub.id, "LIVE").await;

    let revoked = revoke(&t, &team.key, &sub.key_id).await;

    let key = revoked.data()["revokeApiKey"]["apiKey"].clone();
    assert_eq!(key["revokedAt"], "2026-03-16T12:00:00.000Z");
    assert!(!works(&t, &sub.key).await && works(&t, &other).await);
    let before = t.everything().await;
    t.step(TimeDelta::minutes(1));
    let again = revoke(&t, &team.key, &sub.key_id).await;
    assert_eq!(again.data()["revokeApiKey"], json!({ "apiKey": key, "errors": [] }));
    assert_eq!(rotate(&t, &team, &sub.key_id, Some(60)).await.refusals(), ["KEY_REVOKED"]);
    assert_eq!(t.everything().await, before);
    // A sub-account may lose its last key: its main account makes another.
    let last = own_id(&t, &other).await;
    assert_eq!(revoke(&t, &team.key, &last).await.refusals(), NOTHING);
    assert!(!works(&t, &other).await);
    t.close().await;
}

/// R19: a team keeps a live key of its main account; neither TEST, expired, revoked nor others' keys
/// stand in for it.
#[db_test]
#[tokio::test]
async fn the_main_accounts_last_live_key_is_not_revoked(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    t.team(0).await;
    t.sub_account(&team, json!({})).await;
    t.api_key(&team, &team.main_account_id, "TEST").await;
    let short = json!({ "name": "Short", "expiresAt": "2026-03-16T12:00:30Z" });
    made(&t, &team, &team.main_account_id, short).await;
    let (gone, _) = made(&t, &team, &team.main_account_id, json!({ "name": "Gone" })).await;
    assert_eq!(revoke(&t, &team.key, &gone).await.refusals(), NOTHING);
    let first = own_id(&t, &team.key).await;
    let early = revoke(&t, &team.key, &first).await;
    assert_eq!(early.refusals(), ["LAST_KEY"], "a key that ends sooner does not stand in");
    t.step(TimeDelta::seconds(30));

    let before = t.everything().await;
    let answer = revoke(&t, &team.key, &first).await;
    assert_eq!(answer.refusals(), ["LAST_KEY"]);
    assert_eq!(answer.data()["revokeApiKey"]["apiKey"], json!(null));
    assert_eq!(t.everything().await, before);

    let second = t.api_key(&team, &team.main_account_id, "LIVE").await;
    assert_eq!(revoke(&t, &team.key, &first).await.refusals(), NOTHING);
    assert!(!works(&t, &team.key).await);
    let answer = revoke(&t, &second, &own_id(&t, &second).await).await;
    assert_eq!(answer.refusals(), ["LAST_KEY"]);
    assert!(works(&t, &second).await);
    t.close().await;
}

/// Section 6 of the design: 100 usable keys an account, from both sides.
#[db_test]
#[tokio::test]
async fn an_account_has_at_most_a_hundred_usable_keys(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let account = json!({ "id": sub.id });
    for _ in 0..99 {
        t.api_key(&team, &sub.id, "TEST").await;
    }

    let before = t.everything().await;
    let refused = create(&t, &team, &account, json!({ "name": "One more" })).await;
    assert_eq!(refused.refusals(), ["TOO_MANY_KEYS"]);
    assert_eq!(rotate(&t, &team, &sub.key_id, Some(1)).await.refusals(), ["TOO_MANY_KEYS"]);
    assert_eq!(t.everything().await, before);

    let rotated = rotate(&t, &team, &sub.key_id, Some(0)).await;
    assert_eq!(rotated.refusals(), NOTHING);
    let new_id = text(&rotated.data()["rotateApiKey"]["apiKey"]["id"]);
    assert_eq!(revoke(&t, &team.key, &new_id).await.refusals(), NOTHING);
    made(&t, &team, &sub.id, json!({ "name": "The hundredth" })).await;
    let refused = create(&t, &team, &account, json!({ "name": "One more" })).await;
    assert_eq!(refused.refusals(), ["TOO_MANY_KEYS"]);
    t.close().await;
}

/// R16: a key is shown in full once, when it is made; neither answers nor rows hold it.
#[db_test]
#[tokio::test]
async fn a_key_is_never_shown_in_full_again(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let rotated = rotate(&t, &team, &sub.key_id, Some(60)).await;
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
        assert!(shown.contains(&secret[..4]) && shown.contains(&secret[32..]), "for recognition");
        assert!(!shown.contains(&secret[..8]) && !shown.contains(&secret[28..]));
        assert!(!shown.contains(&bytes));
    }
    t.close().await;
}

/// C6: the last use of a key is noted, at most once a minute.
#[db_test]
#[tokio::test]
async fn the_last_use_is_noted_at_most_once_a_minute(database: Database) {
    let mut t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let noted = async |t: &TestApp| keys_of(t, &team, &sub.id, "lastUsedAt").await;

    t.note_key_uses().await;
    assert_eq!(noted(&t).await, json!([{ "lastUsedAt": null }]));
    for (step, last_used_at) in [
        (0, "2026-03-16T12:00:00.000Z"),
        (59, "2026-03-16T12:00:00.000Z"),
        (1, "2026-03-16T12:01:00.000Z"),
        (30, "2026-03-16T12:01:00.000Z"),
        (3600, "2026-03-16T13:01:30.000Z"),
    ] {
        t.step(TimeDelta::seconds(step));
        // A process looks at a key it knows once a second; the test's clock is not that one.
        t.app.keys.forget_all();
        assert!(works(&t, &sub.key).await && works(&t, &sub.key).await);
        t.note_key_uses().await;
        assert_eq!(noted(&t).await, json!([{ "lastUsedAt": last_used_at }]));
    }
    t.close().await;
}

/// C6, C14, C16: keys of one sub-account share its total, its limit and its messages.
#[db_test]
#[tokio::test]
async fn two_keys_of_one_account_share_its_limit(database: Database) {
    let t = TestApp::start(database).await;
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
    t.close().await;
}

/// R20: from the commit of its revocation on, a key changes nothing, not even later in one request.
#[db_test]
#[tokio::test]
async fn a_key_that_revokes_itself_makes_no_other(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let second = t.api_key(&team, &team.main_account_id, "LIVE").await;
    let id = own_id(&t, &second).await;

    let answer = t
        .ask_with(
            &second,
            "mutation($id: ID!, $main: ID!) { revokeApiKey(id: $id) { errors { code } } \
             createApiKey(account: { id: $main }, input: { name: \"Back door\" }) { plainKey } \
             createSubAccount(input: { name: \"Back door\" }) { plainKey } }",
            json!({ "id": id, "main": team.main_account_id }),
        )
        .await;

    assert_eq!(
        answer.body["data"],
        json!({ "revokeApiKey": { "errors": [] }, "createApiKey": null, "createSubAccount": null })
    );
    assert_eq!(answer.codes(), ["UNAUTHENTICATED", "UNAUTHENTICATED"]);
    assert_eq!(t.number("SELECT COUNT(*) FROM account").await, 1);
    t.close().await;
}

/// A rotation that is repeated after a lost answer gives a key that lasts as long as the first.
#[db_test]
#[tokio::test]
async fn a_repeated_rotation_gives_a_lasting_key(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let rotate = "mutation($id: ID!) { rotateApiKey(id: $id, input: { graceSeconds: 60 }) \
                  { apiKey { expiresAt } plainKey errors { code } } }";

    let mut keys = Vec::new();
    for _ in 0..2 {
        let answer = t.ask_with(&team.key, rotate, json!({ "id": sub.key_id })).await;
        assert_eq!(answer.refusals(), NOTHING);
        let made = &answer.data()["rotateApiKey"];
        assert_eq!(made["apiKey"]["expiresAt"], json!(null));
        keys.push(made["plainKey"].as_str().expect("a key").to_owned());
        t.step(TimeDelta::seconds(30));
    }

    assert!(!works(&t, &sub.key).await, "the grace of the first rotation has ended");
    assert!(works(&t, &keys[0]).await && works(&t, &keys[1]).await);
    t.close().await;
}

/// A deactivation writes the keys that are not revoked yet, and none of those that the account had before.
#[db_test]
#[tokio::test]
async fn a_deactivation_writes_no_key_that_was_revoked_before(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let mut id = sub.key_id.clone();
    for _ in 0..5 {
        let rotated = rotate(&t, &team, &id, Some(0)).await;
        id = text(&rotated.data()["rotateApiKey"]["apiKey"]["id"]);
    }
    let guard = match database {
        Sqlite => {
            "CREATE TRIGGER guard BEFORE UPDATE ON api_key WHEN OLD.revoked_at IS NOT NULL \
             BEGIN SELECT RAISE(ABORT, 'the key was revoked'); END"
        }
        Postgres => {
            "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE 'the key was revoked'; END $$; \
             CREATE TRIGGER guard BEFORE UPDATE ON api_key FOR EACH ROW \
             WHEN (OLD.revoked_at IS NOT NULL) EXECUTE FUNCTION guard()"
        }
    };
    t.execute(guard).await;

    let change = async |name: &str, fields: &str| {
        let query = format!(
            "mutation($id: ID!) {{ {name}(account: {{ id: $id }}) \
             {{ account {{ status }} {fields} errors {{ code }} }} }}"
        );
        let answer = t.ask_with(&team.key, &query, json!({ "id": sub.id })).await;
        answer.data()[name].clone()
    };
    let inactive = |keys: u64| json!({ "account": { "status": "INACTIVE" }, "keysRevoked": keys, "errors": [] });
    for keys in [1, 0, 0] {
        assert_eq!(change("deactivateSubAccount", "keysRevoked").await, inactive(keys));
        let active = json!({ "account": { "status": "ACTIVE" }, "errors": [] });
        assert_eq!(change("reactivateSubAccount", "").await, active);
    }
    made(&t, &team, &sub.id, json!({ "name": "New" })).await;
    assert_eq!(change("deactivateSubAccount", "keysRevoked").await, inactive(1));
    let ended = "SELECT COUNT(*) FROM api_key k JOIN account a ON a.id = k.account_id \
                 WHERE a.is_sub_account AND k.revoked_at IS NOT NULL AND k.generation < a.key_generation";
    assert_eq!(t.number(ended).await, 7);

    let drop =
        if database == Sqlite { "DROP TRIGGER guard" } else { "DROP TRIGGER guard ON api_key" };
    t.execute(drop).await;
    t.close().await;
}

/// Keys that have run out count as revoked since their end, so that those that are not revoked are a hundred at most.
#[db_test]
#[tokio::test]
async fn keys_that_have_run_out_are_not_kept_as_lasting(database: Database) {
    let t = TestApp::start(database).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let expires = json!({ "name": "Short", "expiresAt": "2026-03-16T12:00:02Z" });
    made(&t, &team, &sub.id, expires.clone()).await;
    let (id, _) = made(&t, &team, &sub.id, expires).await;
    assert_eq!(rotate(&t, &team, &id, Some(1)).await.refusals(), NOTHING);
    assert_eq!(rotate(&t, &team, &sub.key_id, Some(1)).await.refusals(), NOTHING);
    let lasting = "SELECT COUNT(*) FROM api_key k JOIN account a ON a.id = k.account_id \
                   WHERE a.is_sub_account AND k.revoked_at IS NULL";
    t.step(TimeDelta::seconds(2));
    assert_eq!(t.number(lasting).await, 5);

    made(&t, &team, &sub.id, json!({ "name": "New" })).await;

    assert_eq!(t.number(lasting).await, 2);
    let (one, two) = ("2026-03-16T12:00:01.000Z", "2026-03-16T12:00:02.000Z");
    let listed = keys_of(&t, &team, &sub.id, "revokedAt").await;
    let ends = [json!(null), json!(null), json!(two), json!(one), json!(two), json!(one)];
    let ends: Vec<_> = ends.into_iter().map(|end| json!({ "revokedAt": end })).collect();
    assert_eq!(listed, json!(ends));
    t.close().await;
}
