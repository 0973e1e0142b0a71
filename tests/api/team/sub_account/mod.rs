//! Sub-accounts: created, updated and listed by the main account of their team.

mod status;
mod validation;

use db_test::db_test;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp, TestTeam, text};

/// The account fields that most tests read.
const SHOWN: &str = "name status statusReason statusChangedAt creditLimit externalId metadata \
                     teamBalanceVisible";

const NOTHING: [&str; 0] = [];

fn by_id(id: &str) -> Value {
    json!({ "id": id })
}

/// Runs a mutation that changes a sub-account.
async fn change(
    t: &TestApp,
    team: &TestTeam,
    field: &str,
    account: &Value,
    input: Value,
) -> Answer {
    let (parameter, argument, more) = match field {
        "reactivateSubAccount" => ("", "", ""),
        "suspendSubAccount" => (", $input: SuspendSubAccountInput", ", input: $input", ""),
        "deactivateSubAccount" => {
            (", $input: DeactivateSubAccountInput", ", input: $input", "keysRevoked")
        }
        _ => (", $input: UpdateSubAccountInput!", ", input: $input", ""),
    };
    let query = format!(
        "mutation($account: AccountRef!{parameter}) {{ {field}(account: $account{argument}) \
         {{ account {{ {SHOWN} }} {more} errors {{ code message field }} }} }}"
    );
    t.ask_with(&team.key, &query, json!({ "account": account, "input": input })).await
}

async fn read(t: &TestApp, team: &TestTeam, by: &Value, fields: &str) -> Value {
    let query = format!("query($by: AccountRef!) {{ subAccount(by: $by) {{ {fields} }} }}");
    let answer = t.ask_with(&team.key, &query, json!({ "by": by })).await;
    answer.data()["subAccount"].clone()
}

#[db_test]
async fn a_new_sub_account_has_a_live_key_that_works(t: &TestApp) {
    let team = t.team(50_000).await;

    let input = json!({
        "name": " Client ABC ", "externalId": "abc-1", "creditLimit": 10_000,
        "metadata": { "plan": "gold" }, "teamBalanceVisible": false,
    });
    let answer = t.create_sub_account(&team.key, input).await;

    assert_eq!(answer.refusals(), NOTHING);
    let made = &answer.data()["createSubAccount"];
    let id = text(&made["account"]["id"]);
    assert_eq!(
        made["account"],
        json!({
            "id": id, "name": "Client ABC", "status": "ACTIVE", "creditLimit": 10_000, "totalSpent": 0,
            "externalId": "abc-1", "metadata": { "plan": "gold" }, "teamBalanceVisible": false,
        })
    );
    let key = text(&made["plainKey"]);
    assert!(key.starts_with("tg_live_sub_"), "the prefix shows the kind of the key");
    let (prefix, last_four) = (text(&made["apiKey"]["prefix"]), text(&made["apiKey"]["lastFour"]));
    assert!(key.starts_with(&prefix) && key.ends_with(&last_four));
    assert_eq!(made["apiKey"]["environment"], "LIVE");
    let own = t.ask(&key, "{ viewer { role environment account { id isSubAccount } } }").await;
    let account = json!({ "id": id, "isSubAccount": true });
    let viewer = json!({ "role": "SUB_ACCOUNT", "environment": "LIVE", "account": account });
    assert_eq!(own.data()["viewer"], viewer);
}

/// The external id is unique even if requests are concurrent. Another team can use the same external id.
#[db_test]
async fn an_external_id_is_unique_in_its_team(t: &TestApp) {
    let (team, other_team) = (t.team(0).await, t.team(0).await);
    let taken = json!({ "name": "Holder", "externalId": "taken" });
    assert_eq!(t.create_sub_account(&team.key, taken.clone()).await.refusals(), NOTHING);
    let sub = t.sub_account(&team, json!({ "externalId": "own" })).await;

    let before = t.everything().await;
    let created = t.create_sub_account(&team.key, taken.clone()).await;
    let to_taken = json!({ "externalId": "taken" });
    let updated = change(t, &team, "updateSubAccount", &by_id(&sub.id), to_taken).await;
    let after = t.everything().await;

    for answer in [&created, &updated] {
        assert_eq!(answer.refusals(), ["EXTERNAL_ID_TAKEN"]);
    }
    assert_eq!(after, before);
    assert_eq!(t.create_sub_account(&other_team.key, taken).await.refusals(), NOTHING);
    let to_own = json!({ "externalId": "own" });
    let again = change(t, &team, "updateSubAccount", &by_id(&sub.id), to_own).await;
    assert_eq!(again.refusals(), NOTHING);

    let race = json!({ "name": "Racer", "externalId": "race" });
    let (one, two) = tokio::join!(
        t.create_sub_account(&team.key, race.clone()),
        t.create_sub_account(&team.key, race.clone()),
    );
    let mut refusals = [one.refusals(), two.refusals()].concat();
    refusals.sort_unstable();
    assert_eq!(refusals, ["EXTERNAL_ID_TAKEN"]);
    assert_eq!(t.number("SELECT COUNT(*) FROM account WHERE external_id = 'race'").await, 1);
}

#[db_test]
async fn an_update_keeps_omitted_fields_clears_null_ones_and_sets_others(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "externalId": "e", "creditLimit": 5 })).await;
    let account = by_id(&sub.id);
    let mut expected = read(t, &team, &account, SHOWN).await;

    for (field, value, null_gives) in [
        ("externalId", json!("a-1"), json!(null)),
        ("creditLimit", json!(500), json!(null)),
        ("metadata", json!({ "plan": "gold" }), json!(null)),
        ("name", json!("Renamed"), json!("Renamed")),
        ("teamBalanceVisible", json!(false), json!(false)),
    ] {
        for (input, then) in [
            (json!({ (field): value }), value.clone()),
            (json!({}), value.clone()),
            (json!({ (field): null }), null_gives),
            (json!({ (field): value }), value),
        ] {
            let answer = change(t, &team, "updateSubAccount", &account, input).await;

            assert_eq!(answer.refusals(), NOTHING);
            expected[field] = then;
            assert_eq!(answer.data()["updateSubAccount"]["account"], expected, "{field}");
            assert_eq!(read(t, &team, &account, SHOWN).await, expected, "{field}");
        }
    }
}

#[db_test]
async fn an_external_id_can_be_used_in_place_of_the_id(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "externalId": "c-1" })).await;
    t.sub_account(&team, json!({ "externalId": "C-1" })).await;
    let named = json!({ "externalId": "c-1" });

    assert_eq!(read(t, &team, &named, "id").await, json!({ "id": sub.id }));
    for (field, input, shows) in [
        ("updateSubAccount", json!({ "name": "Renamed" }), json!("ACTIVE")),
        ("suspendSubAccount", json!({}), json!("SUSPENDED")),
        ("reactivateSubAccount", json!(null), json!("ACTIVE")),
        ("deactivateSubAccount", json!(null), json!("INACTIVE")),
    ] {
        let answer = change(t, &team, field, &named, input).await;

        assert_eq!(answer.refusals(), NOTHING, "{field}");
        assert_eq!(answer.data()[field]["account"]["externalId"], "c-1");
        assert_eq!(answer.data()[field]["account"]["status"], shows);
    }
}

/// The main account cannot manage itself, and sub-accounts have no sub-accounts.
#[db_test]
async fn only_the_main_account_manages_sub_accounts(t: &TestApp) {
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({})).await;
    let main = by_id(&team.main_account_id);
    let before = t.everything().await;

    for field in
        ["updateSubAccount", "suspendSubAccount", "reactivateSubAccount", "deactivateSubAccount"]
    {
        let answer = change(t, &team, field, &main, json!({})).await;
        assert_eq!(answer.refusals(), ["NOT_FOUND"], "{field}");
        assert_eq!(answer.data()[field]["errors"][0]["field"], json!(["account"]));
    }
    assert_eq!(read(t, &team, &main, "id").await, json!(null));
    let list = t.ask(&team.key, "{ subAccounts { totalCount nodes { id } } }").await;
    assert_eq!(list.data()["subAccounts"], json!({ "totalCount": 1, "nodes": [{ "id": sub.id }] }));
    for input in [json!({ "name": "Nested" }), json!({ "name": "" })] {
        assert_eq!(t.create_sub_account(&sub.key, input).await.codes(), ["FORBIDDEN"]);
    }

    assert_eq!(t.everything().await, before);
}
