//! Calls in which a main account manages its sub-accounts and their keys.

use serde_json::json;

use super::{Call, Stage};
use crate::harness::UNKNOWN_IDS;

#[expect(clippy::too_many_lines, reason = "a table: one call of each mutation")]
pub fn calls(stage: &Stage) -> Vec<Call<'_>> {
    let main = stage.team.key.as_str();
    let own = Some(stage.sub.id.as_str());
    let other = Some(stage.other.id.as_str());
    let _team = stage.team.id.as_str();
    let unknown = UNKNOWN_IDS[0];
    let other_key = Some(stage.other.key_id.as_str());
    vec![
        Call::new(
            main,
            "createSubAccount",
            "(input: { name: \"New\", externalId: \"new\", creditLimit: 0.5, metadata: { plan: \"gold\" } }) \
             { account { id } errors { code } }",
            (
                // The id of the new account is known only from the response.
                None,
                None,
                json!(null),
                json!({ "name": "New", "externalId": "new", "creditLimit": 0.5, "status": "ACTIVE",
                        "metadata": "(not shown)", "teamBalanceVisible": true, "apiKeyId": "(id)" }),
            ),
            "(input: { name: \"\", externalId: \"019a0000-0000-7000-8000-000000000001\" }) \
             { errors { code } }",
            "NAME_INVALID",
            (None, None),
        ),
        Call::new(
            main,
            "updateSubAccount",
            "(account: { externalId: \"abc\" }, input: { creditLimit: null, name: \"Named\", \
             metadata: { plan: \"silver\" } }) { errors { code } }",
            (
                own,
                own,
                json!({ "creditLimit": 7, "name": "Client", "metadata": null }),
                json!({ "creditLimit": null, "name": "Named", "metadata": "(not shown)" }),
            ),
            "(account: { externalId: \"abc\" }, input: { creditLimit: -1 }) { errors { code } }",
            "CREDIT_LIMIT_INVALID",
            (own, own),
        ),
        Call::new(
            main,
            "suspendSubAccount",
            "(account: { externalId: \"other\" }, input: { reason: \"Unpaid\" }) { errors { code } }",
            (
                other,
                other,
                json!({ "status": "ACTIVE", "statusReason": null }),
                json!({ "status": "SUSPENDED", "statusReason": "Unpaid" }),
            ),
            "(account: { externalId: \"other\" }, input: { reason: \"\" }) { errors { code } }",
            "REASON_INVALID",
            (other, other),
        ),
        Call::new(
            main,
            "reactivateSubAccount",
            "(account: { externalId: \"other\" }) { errors { code } }",
            (
                other,
                other,
                json!({ "status": "SUSPENDED", "statusReason": "Unpaid" }),
                json!({ "status": "ACTIVE", "statusReason": null }),
            ),
            &format!("(account: {{ id: \"{unknown}\" }}) {{ errors {{ code }} }}"),
            "NOT_FOUND",
            (None, Some(unknown)),
        ),
        Call::new(
            main,
            "createApiKey",
            "(account: { externalId: \"other\" }, input: { name: \"Second\", environment: TEST, \
             expiresAt: \"2027-01-01T00:00:00+01:00\" }) { apiKey { id } errors { code } }",
            (
                other,
                None,
                json!(null),
                json!({ "name": "Second", "environment": "TEST",
                        "expiresAt": "2026-12-31T23:00:00.000Z" }),
            ),
            "(account: { externalId: \"other\" }, input: { name: \"Second\", \
             expiresAt: \"2020-01-01T00:00:00Z\" }) { errors { code } }",
            "EXPIRY_INVALID",
            (other, other),
        ),
        Call::new(
            main,
            "updateApiKey",
            &format!(
                "(id: \"{}\", input: {{ name: \"Renamed\" }}) {{ errors {{ code }} }}",
                stage.other.key_id
            ),
            (other, other_key, json!({ "name": "Default" }), json!({ "name": "Renamed" })),
            &format!(
                "(id: \"{}\", input: {{ name: \"\" }}) {{ errors {{ code }} }}",
                stage.other.key_id
            ),
            "NAME_INVALID",
            (other, other_key),
        ),
        Call::new(
            main,
            "rotateApiKey",
            &format!(
                "(id: \"{}\", input: {{ graceSeconds: 60 }}) {{ errors {{ code }} }}",
                stage.other.key_id
            ),
            (
                other,
                other_key,
                json!({ "graceEndsAt": null }),
                json!({ "graceEndsAt": "2026-03-16T12:01:00.000Z", "newApiKeyId": "(id)" }),
            ),
            &format!(
                "(id: \"{}\", input: {{ graceSeconds: -1 }}) {{ errors {{ code }} }}",
                stage.other.key_id
            ),
            "GRACE_INVALID",
            (other, other_key),
        ),
        Call::new(
            main,
            "revokeApiKey",
            &format!("(id: \"{}\") {{ errors {{ code }} }}", stage.other.key_id),
            (
                other,
                other_key,
                json!({ "revokedAt": null }),
                json!({ "revokedAt": "2026-03-16T12:00:00.000Z" }),
            ),
            &format!("(id: \"{}\") {{ errors {{ code }} }}", stage.main_key_id),
            "LAST_KEY",
            (Some(&stage.team.main_account_id), Some(&stage.main_key_id)),
        ),
        Call::new(
            main,
            "deactivateSubAccount",
            "(account: { externalId: \"other\" }) { errors { code } }",
            (
                other,
                other,
                json!({ "status": "ACTIVE" }),
                json!({ "status": "INACTIVE", "keysRevoked": 2 }),
            ),
            "(account: { externalId: \"nobody\" }) { errors { code } }",
            "NOT_FOUND",
            (None, None),
        ),
    ]
}
