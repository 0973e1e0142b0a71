//! Phone numbers of an account: renamed, released and transferred.

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};

use super::{NUMBER, STOCK, available, buy, money, release, update};
use crate::harness::{Answer, TestApp, UNKNOWN_IDS, text};

async fn transfer(t: &TestApp, key: &str, id: &str, to: Value) -> Answer {
    let query = format!(
        "mutation($id: ID!, $to: AccountRef!) \
         {{ transferPhoneNumber(id: $id, input: {{ to: $to }}) {{ {NUMBER} }} }}"
    );
    t.ask_with(key, &query, json!({ "id": id, "to": to })).await
}

/// A released number can be bought by any account, and its fees are not refunded.
#[db_test]
async fn a_phone_number_is_renamed_and_released(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let input = json!({ "number": "+12025550101", "name": "A" });
    let bought = t.purchase(&sub.key, input).await;
    let id = text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]);

    for (input, name) in [
        (json!({}), json!("A")),
        (json!({ "name": "x".repeat(200) }), json!("x".repeat(200))),
        (json!({ "name": null }), json!(null)),
        (json!({ "name": "B" }), json!("B")),
    ] {
        let updated = update(t, &sub.key, &id, input).await;
        assert_eq!(updated.data()["updatePhoneNumber"]["phoneNumber"]["name"], name);
    }
    let before = t.everything().await;
    for name in ["", "\n", &"x".repeat(201)] {
        let refused = update(t, &sub.key, &id, json!({ "name": name })).await;
        assert_eq!(refused.refusals(), ["NAME_INVALID"]);
    }
    for key in [&team.key, &t.team(0).await.key] {
        for id in [&id, UNKNOWN_IDS[0], UNKNOWN_IDS[1]] {
            let input = json!({ "name": "Mine" });
            assert_eq!(update(t, key, id, input).await.refusals(), ["NOT_FOUND"]);
            assert_eq!(release(t, key, id).await.refusals(), ["NOT_FOUND"]);
        }
    }
    let after = t.everything().await;
    for table in ["phone_number", "inventory_number", "ledger_entry"] {
        assert_eq!(after[table], before[table]);
    }

    t.step(TimeDelta::days(1));
    let released = release(t, &sub.key, &id).await;
    let released = &released.data()["releasePhoneNumber"]["phoneNumber"];
    assert_eq!((&released["status"], &released["name"]), (&json!("RELEASED"), &json!("B")));
    assert_eq!(released["releasedAt"], "2026-03-17T12:00:00.000Z");
    assert_eq!(money(t, &sub.key).await, json!({ "balance": 649.5, "totalSpent": 350.5 }));
    let before = t.everything().await;
    let again = release(t, &sub.key, &id).await;
    assert_eq!(again.data()["releasePhoneNumber"]["phoneNumber"], *released);
    assert_eq!(update(t, &sub.key, &id, json!({ "name": "C" })).await.refusals(), ["NOT_FOUND"]);
    assert_eq!(t.everything().await, before);
    let seen = format!(
        "{{ phoneNumbers {{ totalCount }} phoneNumber(id: \"{id}\") {{ status }} \
         ledger(first: 1) {{ nodes {{ phoneNumber {{ status }} }} }} }}"
    );
    let status = json!({ "status": "RELEASED" });
    let expected = json!({ "phoneNumbers": { "totalCount": 0 }, "phoneNumber": status,
                           "ledger": { "nodes": [{ "phoneNumber": status }] } });
    assert_eq!(*t.ask(&sub.key, &seen).await.data(), expected);

    let bought = buy(t, &team.key, "+12025550101").await;
    let number = &bought.data()["purchasePhoneNumber"]["phoneNumber"];
    assert_ne!(number["id"], json!(id), "another number to its new account");
    assert_eq!((&number["name"], &number["status"]), (&json!(null), &json!("ACTIVE")));
    assert_eq!(*t.ask(&sub.key, &seen).await.data(), expected);
}

#[db_test]
async fn a_test_key_searches_and_reads_phone_numbers_and_changes_none(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(1000).await;
    let key = t.api_key(&team, &team.main_account_id, "TEST").await;
    let id = t.phone_number(&team.key, "+12025550110").await;
    let before = t.everything().await;

    let own = json!({ "id": team.main_account_id });
    for answer in [
        buy(t, &key, "+12025550101").await,
        update(t, &key, &id, json!({ "name": "x" })).await,
        release(t, &key, &id).await,
        transfer(t, &key, &id, own).await,
    ] {
        assert_eq!(answer.codes(), ["FORBIDDEN"]);
    }
    assert_eq!(t.everything().await, before);
    let numbers = t.ask(&key, "{ phoneNumbers { nodes { id } } }").await;
    assert_eq!(numbers.data()["phoneNumbers"]["nodes"], json!([{ "id": id }]));
    assert_eq!(available(t, &key, json!({ "country": "US" })).await.len(), 3);
}

/// The main account identifies the phone numbers by their ids, and sees no other data about them. A transfer costs
/// nothing. The new account pays for the next month.
#[db_test]
async fn a_main_account_transfers_phone_numbers_within_its_team(t: &TestApp) {
    t.stock(STOCK).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({ "externalId": "abc" })).await;
    let gone = t.sub_account(&team, json!({ "externalId": "gone" })).await;
    let query =
        "mutation { deactivateSubAccount(account: { externalId: \"gone\" }) { errors { code } } }";
    t.ask(&team.key, query).await;
    let other = t.team(1000).await;
    let input = json!({ "number": "+12025550102", "name": "Secret", "idempotencyKey": "k" });
    let bought = t.purchase(&sub.key, input.clone()).await;
    let id = text(&bought.data()["purchasePhoneNumber"]["phoneNumber"]["id"]);
    let before = t.everything().await;

    let seen = format!("{{ phoneNumber(id: \"{id}\") {{ id }} phoneNumbers {{ totalCount }} }}");
    let nothing = json!({ "phoneNumber": null, "phoneNumbers": { "totalCount": 0 } });
    assert_eq!(*t.ask(&team.key, &seen).await.data(), nothing);
    for (id, to, code) in [
        (UNKNOWN_IDS[0], json!({ "id": sub.id }), "NOT_FOUND"),
        (UNKNOWN_IDS[1], json!({ "id": sub.id }), "NOT_FOUND"),
        (&id, json!({ "id": UNKNOWN_IDS[0] }), "ACCOUNT_NOT_FOUND"),
        (&id, json!({ "id": UNKNOWN_IDS[1] }), "ACCOUNT_NOT_FOUND"),
        (&id, json!({ "externalId": "nobody" }), "ACCOUNT_NOT_FOUND"),
        (&id, json!({ "id": other.main_account_id }), "ACCOUNT_NOT_FOUND"),
        (&id, json!({ "id": gone.id }), "ACCOUNT_INACTIVE"),
    ] {
        assert_eq!(transfer(t, &team.key, id, to).await.refusals(), [code]);
    }
    let own = json!({ "id": other.main_account_id });
    assert_eq!(transfer(t, &other.key, &id, own).await.refusals(), ["NOT_FOUND"]);
    // A transfer to the account that already has the number changes nothing, and the response does not show the
    // number's name.
    let stayed = transfer(t, &team.key, &id, json!({ "externalId": "abc" })).await;
    assert_eq!(stayed.data()["transferPhoneNumber"]["phoneNumber"]["name"], Value::Null);
    assert_eq!(t.everything().await, before);

    let moved = transfer(t, &team.key, &id, json!({ "id": team.main_account_id })).await;
    let number = &moved.data()["transferPhoneNumber"]["phoneNumber"];
    assert_eq!((&number["id"], &number["name"]), (&json!(id), &Value::Null));
    assert_eq!(t.everything().await["ledger_entry"], before["ledger_entry"]);
    assert_eq!(*t.ask(&sub.key, &seen).await.data(), nothing);
    let its = json!({ "phoneNumber": { "id": id }, "phoneNumbers": { "totalCount": 1 } });
    assert_eq!(*t.ask(&team.key, &seen).await.data(), its);
    // The buyer's idempotency key remains taken, and a repeat does not show data of the new account.
    assert_eq!(t.purchase(&sub.key, input).await.refusals(), ["IDEMPOTENCY_CONFLICT"]);
    assert_eq!(release(t, &sub.key, &id).await.refusals(), ["NOT_FOUND"]);

    t.step(TimeDelta::days(31));
    t.renew().await;
    assert_eq!(money(t, &sub.key).await, json!({ "balance": 500, "totalSpent": 250 }));
    // The main account may also transfer to a suspended account.
    let query =
        "mutation { suspendSubAccount(account: { externalId: \"abc\" }) { errors { code } } }";
    t.ask(&team.key, query).await;
    let back = transfer(t, &team.key, &id, json!({ "externalId": "abc" })).await;
    assert_eq!(back.refusals(), [""; 0]);
    assert_eq!(*t.ask(&sub.key, &seen).await.data(), its);
    t.step(TimeDelta::days(31));
    t.renew().await;
    assert_eq!(money(t, &sub.key).await, json!({ "balance": 250, "totalSpent": 500 }));
    // Released numbers cannot be transferred.
    release(t, &sub.key, &id).await;
    let to = json!({ "id": team.main_account_id });
    assert_eq!(transfer(t, &team.key, &id, to).await.refusals(), ["NOT_FOUND"]);
}
