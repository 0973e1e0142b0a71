//! The data that an API key can read about itself and its own account.

use db_test::db_test;
use serde_json::json;

use crate::harness::TestApp;

#[db_test]
async fn the_viewer_is_the_key_of_the_request(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({ "name": "Client ABC" })).await;
    let test_key = t.api_key(&team, &sub.id, "TEST").await;
    let query = "{ viewer { role environment account { name isSubAccount } team { name id } \
                 apiKey { name prefix lastFour environment } } }";
    let team_seen = json!({ "name": "Acme", "id": team.id });

    for (key, role, environment, account, team, name) in [
        (
            &sub.key,
            "SUB_ACCOUNT",
            "LIVE",
            json!({ "name": "Client ABC", "isSubAccount": true }),
            &team_seen,
            "Default",
        ),
        (
            &test_key,
            "SUB_ACCOUNT",
            "TEST",
            json!({ "name": "Client ABC", "isSubAccount": true }),
            &team_seen,
            "Another",
        ),
        (
            &team.key,
            "MAIN_ACCOUNT",
            "LIVE",
            json!({ "name": "Acme", "isSubAccount": false }),
            &team_seen,
            "Default",
        ),
        (&t.operator, "OPERATOR", "LIVE", json!(null), &json!(null), "Test"),
    ] {
        let answer = t.ask(key, query).await;
        let prefix_length = key.len() - 36 + 4;
        assert_eq!(
            answer.data()["viewer"],
            json!({ "role": role, "environment": environment, "account": account, "team": team,
                    "apiKey": { "name": name, "prefix": key[..prefix_length], "lastFour": key[key.len() - 4..],
                                "environment": environment } })
        );
    }
}

/// The fields `remainingCredit`, `isBlocked` and `blockedBy` depend on the account's credit limit, total spent and
/// status, and on the team's balance.
#[db_test]
async fn an_account_shows_why_it_is_blocked(t: &TestApp) {
    t.set_sms_price(100_000).await;
    let team = t.team(25).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 15 })).await;
    let query = "{ account { creditLimit totalSpent remainingCredit isBlocked blockedBy } }";
    let mut seen = vec![];

    seen.push(t.ask(&sub.key, query).await.data()["account"].clone());
    assert!(t.sends(&sub.key).await && t.sends(&sub.key).await && !t.sends(&sub.key).await);
    seen.push(t.ask(&sub.key, query).await.data()["account"].clone());
    let adjusted = t
        .ask_with(
            &t.operator,
            "mutation($id: ID!) { adjustTeamBalance(input: { teamId: $id, amount: -5, idempotencyKey: \"x\", \
             reason: \"test\" }) { errors { code } } }",
            json!({ "id": team.id }),
        )
        .await;
    assert_eq!(adjusted.refusals(), [""; 0]);
    seen.push(t.ask(&sub.key, query).await.data()["account"].clone());
    seen.push(t.ask(&team.key, query).await.data()["account"].clone());

    assert_eq!(
        json!(seen),
        json!([
            { "creditLimit": 15, "totalSpent": 0, "remainingCredit": 15, "isBlocked": false, "blockedBy": [] },
            { "creditLimit": 15, "totalSpent": 20, "remainingCredit": 0, "isBlocked": true, "blockedBy": ["CREDIT_LIMIT"] },
            { "creditLimit": 15, "totalSpent": 20, "remainingCredit": 0, "isBlocked": true, "blockedBy": ["CREDIT_LIMIT", "BALANCE"] },
            { "creditLimit": null, "totalSpent": null, "remainingCredit": null, "isBlocked": true, "blockedBy": ["BALANCE"] },
        ])
    );
}
