//! Revoking single keys, and the keys of a deactivated account.

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::json;

use super::{NOTHING, made, revoke, rotate, works};
use crate::harness::{Database, Postgres, Sqlite, TestApp, text};

/// After one key of an account is revoked, the account's other keys still work.
#[db_test]
async fn a_revoked_key_is_refused_immediately_and_for_good(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let other = t.api_key(&team, &sub.id, "LIVE").await;

    let revoked = revoke(t, &team.key, &sub.key_id).await;

    let key = revoked.data()["revokeApiKey"]["apiKey"].clone();
    assert_eq!(key["revokedAt"], "2026-03-16T12:00:00.000Z");
    assert!(!works(t, &sub.key).await && works(t, &other).await);
    let before = t.everything().await;
    t.step(TimeDelta::minutes(1));
    let again = revoke(t, &team.key, &sub.key_id).await;
    assert_eq!(again.data()["revokeApiKey"], json!({ "apiKey": key, "errors": [] }));
    assert_eq!(rotate(t, &team, &sub.key_id, Some(60)).await.refusals(), ["KEY_REVOKED"]);
    assert_eq!(t.everything().await, before);
    // The last key of a sub-account can be revoked, because the main account can create another key.
    let last = t.key_id(&other).await;
    assert_eq!(revoke(t, &team.key, &last).await.refusals(), NOTHING);
    assert!(!works(t, &other).await);
}

/// TEST keys, expired keys, revoked keys and keys of sub-accounts do not count as LIVE keys of the main account.
#[db_test]
async fn the_last_live_key_of_a_main_account_cannot_be_revoked(t: &TestApp) {
    let team = t.team(0).await;
    t.team(0).await;
    t.sub_account(&team, json!({})).await;
    t.api_key(&team, &team.main_account_id, "TEST").await;
    let short = json!({ "name": "Short", "expiresAt": "2026-03-16T12:00:30Z" });
    made(t, &team, &team.main_account_id, short).await;
    let (gone, _) = made(t, &team, &team.main_account_id, json!({ "name": "Gone" })).await;
    assert_eq!(revoke(t, &team.key, &gone).await.refusals(), NOTHING);
    let first = t.key_id(&team.key).await;
    let early = revoke(t, &team.key, &first).await;
    assert_eq!(early.refusals(), ["LAST_KEY"], "a key that expires earlier does not replace it");
    t.step(TimeDelta::seconds(30));

    let before = t.everything().await;
    let answer = revoke(t, &team.key, &first).await;
    assert_eq!(answer.refusals(), ["LAST_KEY"]);
    assert_eq!(answer.data()["revokeApiKey"]["apiKey"], json!(null));
    assert_eq!(t.everything().await, before);

    let second = t.api_key(&team, &team.main_account_id, "LIVE").await;
    assert_eq!(revoke(t, &team.key, &first).await.refusals(), NOTHING);
    assert!(!works(t, &team.key).await);
    let answer = revoke(t, &second, &t.key_id(&second).await).await;
    assert_eq!(answer.refusals(), ["LAST_KEY"]);
    assert!(works(t, &second).await);
}

#[db_test]
async fn a_key_that_revokes_itself_changes_nothing_later_in_the_request(t: &TestApp) {
    let team = t.team(0).await;
    let second = t.api_key(&team, &team.main_account_id, "LIVE").await;
    let id = t.key_id(&second).await;

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
}

#[db_test]
async fn a_deactivation_updates_only_keys_that_are_not_revoked_yet(
    t: &TestApp,
    database: Database,
) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let mut id = sub.key_id.clone();
    for _ in 0..5 {
        let rotated = rotate(t, &team, &id, Some(0)).await;
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
    made(t, &team, &sub.id, json!({ "name": "New" })).await;
    assert_eq!(change("deactivateSubAccount", "keysRevoked").await, inactive(1));
    let ended = "SELECT COUNT(*) FROM api_key k JOIN account a ON a.id = k.account_id \
                 WHERE a.is_sub_account AND k.revoked_at IS NOT NULL AND k.generation < a.key_generation";
    assert_eq!(t.number(ended).await, 7);

    let drop =
        if database == Sqlite { "DROP TRIGGER guard" } else { "DROP TRIGGER guard ON api_key" };
    t.execute(drop).await;
}
