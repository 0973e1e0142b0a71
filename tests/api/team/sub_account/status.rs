//! Sub-accounts that are suspended, deactivated or over their limit.

use axum::http::StatusCode;
use chrono::TimeDelta;
use db_test::db_test;
use serde_json::{Value, json};

use super::{NOTHING, by_id, change, read};
use crate::harness::TestApp;

/// A suspended account can do everything except sending. A reactivation takes effect immediately.
#[db_test]
async fn a_suspended_account_cannot_send_and_its_waiting_messages_stay(t: &TestApp) {
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let account = by_id(&sub.id);
    assert!(t.sends(&sub.key).await);

    let input = json!({ "reason": " Unpaid " });
    let suspended = change(t, &team, "suspendSubAccount", &account, input).await;
    let shown = &suspended.data()["suspendSubAccount"]["account"];
    assert_eq!(shown["status"], "SUSPENDED");
    assert_eq!(shown["statusReason"], "Unpaid");
    assert_eq!(shown["statusChangedAt"], "2026-03-16T12:00:00.000Z");

    t.step(TimeDelta::minutes(1));
    t.deliver().await;
    let before = t.everything().await;
    let input = json!({ "reason": "Another" });
    let again = change(t, &team, "suspendSubAccount", &account, input).await;
    assert_eq!(again.data()["suspendSubAccount"]["account"], *shown);
    let send = t.send(&sub.key, json!({ "to": "+12025550123", "text": "Hi" })).await;
    assert_eq!(send.refusals(), ["ACCOUNT_SUSPENDED"]);
    for reason in ["", "  ", "a\u{1b}b", &"x".repeat(501)] {
        for field in ["suspendSubAccount", "deactivateSubAccount"] {
            let answer = change(t, &team, field, &account, json!({ "reason": reason })).await;
            assert_eq!(answer.refusals(), ["REASON_INVALID"]);
            assert_eq!(answer.data()[field]["errors"][0]["field"], json!(["input", "reason"]));
        }
    }
    let own = t.ask(&sub.key, "{ messages { nodes { status } } }").await;
    assert_eq!(own.data()["messages"]["nodes"], json!([{ "status": "QUEUED" }]));
    assert_eq!(t.everything().await, before);

    let reactivated = change(t, &team, "reactivateSubAccount", &account, json!(null)).await;
    let shown = &reactivated.data()["reactivateSubAccount"]["account"];
    assert_eq!([&shown["status"], &shown["statusReason"]], [&json!("ACTIVE"), &json!(null)]);
    assert_ne!(shown["statusChangedAt"], "2026-03-16T12:00:00.000Z");
    let before = t.everything().await;
    t.step(TimeDelta::minutes(1));
    let again = change(t, &team, "reactivateSubAccount", &account, json!(null)).await;
    assert_eq!(again.data()["reactivateSubAccount"]["account"], *shown);
    assert_eq!(t.everything().await, before);
    assert!(t.sends(&sub.key).await);
    t.deliver().await;
    let own = t.ask(&sub.key, "{ messages { nodes { status } } }").await;
    let delivered = json!({ "status": "DELIVERED" });
    assert_eq!(own.data()["messages"]["nodes"], json!([delivered, delivered]));
}

/// A reactivation restores neither the keys nor the messages.
#[db_test]
async fn a_deactivation_revokes_all_keys_and_refunds_waiting_messages(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(100).await;
    let sub = t.sub_account(&team, json!({})).await;
    let account = by_id(&sub.id);
    let live = t.api_key(&team, &sub.id, "LIVE").await;
    let test = t.api_key(&team, &sub.id, "TEST").await;
    t.revoke_key(&team, &sub.key_id).await;
    assert!(t.sends(&live).await);
    t.deliver().await;
    assert!(t.sends(&live).await && t.sends(&live).await);

    let input = json!({ "reason": "Left" });
    let answer = change(t, &team, "deactivateSubAccount", &account, input).await;

    let payload = &answer.data()["deactivateSubAccount"];
    assert_eq!([&payload["keysRevoked"], &payload["errors"]], [&json!(2), &json!([])]);
    assert_eq!(payload["account"]["status"], "INACTIVE");
    assert_eq!(payload["account"]["statusReason"], "Left");
    for key in [&sub.key, &live, &test] {
        let answer = t.ask(key, "{ balance { balance } }").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.codes(), ["UNAUTHENTICATED"]);
    }
    // The messages are not canceled and refunded until the worker runs.
    assert_eq!(read(t, &team, &account, "totalSpent").await, json!({ "totalSpent": 3 }));
    assert_eq!(t.run_backlog().await, 1);
    assert_eq!(read(t, &team, &account, "totalSpent").await, json!({ "totalSpent": 1 }));
    let balance = t.ask(&team.key, "{ balance { balance } }").await;
    assert_eq!(balance.data()["balance"]["balance"], 99);

    let before = t.everything().await;
    t.step(TimeDelta::minutes(1));
    let again = change(t, &team, "deactivateSubAccount", &account, json!({})).await;
    let payload = &again.data()["deactivateSubAccount"];
    assert_eq!([&payload["keysRevoked"], &payload["errors"]], [&json!(0), &json!([])]);
    let suspended = change(t, &team, "suspendSubAccount", &account, json!({})).await;
    assert_eq!(suspended.refusals(), ["ACCOUNT_INACTIVE"]);
    assert_eq!(t.everything().await, before);

    let reactivated = change(t, &team, "reactivateSubAccount", &account, json!(null)).await;
    assert_eq!(reactivated.data()["reactivateSubAccount"]["account"]["status"], "ACTIVE");
    for key in [&sub.key, &live, &test] {
        assert_eq!(t.ask(key, "{ __typename }").await.status, StatusCode::UNAUTHORIZED);
    }
    let key = t.api_key(&team, &sub.id, "LIVE").await;
    let own = t.ask(&key, "{ messages { nodes { status errorCode cost refundedAt } } }").await;
    let nodes = own.data()["messages"]["nodes"].as_array().expect("a list");
    for (node, is_canceled) in nodes.iter().zip([true, true, false]) {
        let code = if is_canceled { json!("ACCOUNT_INACTIVE") } else { json!(null) };
        assert_eq!(node["status"], if is_canceled { "CANCELED" } else { "DELIVERED" });
        assert_eq!([&node["errorCode"], &node["cost"]], [&code, &json!(1)]);
        assert_eq!(node["refundedAt"] != json!(null), is_canceled);
    }
    assert_eq!(nodes.len(), 3);
    assert!(t.sends(&key).await);
}

#[db_test]
async fn an_account_shows_every_reason_why_its_messages_are_refused(t: &TestApp) {
    t.set_sms_price(10_000).await;
    let team = t.team(3).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 2 })).await;
    let account = by_id(&sub.id);
    let expect = async |reasons: Value, remaining: Value| {
        let fields = "isBlocked blockedBy remainingCredit";
        let expected = json!({
            "isBlocked": reasons != json!([]), "blockedBy": reasons, "remainingCredit": remaining,
        });
        assert_eq!(read(t, &team, &account, fields).await, expected);
    };

    expect(json!([]), json!(2)).await;
    assert!(t.sends(&sub.key).await);
    expect(json!([]), json!(1)).await;
    assert!(t.sends(&sub.key).await);
    t.deliver().await;
    expect(json!(["CREDIT_LIMIT"]), json!(0)).await;
    change(t, &team, "updateSubAccount", &account, json!({ "creditLimit": 1 })).await;
    expect(json!(["CREDIT_LIMIT"]), json!(0)).await;
    change(t, &team, "suspendSubAccount", &account, json!({})).await;
    expect(json!(["SUSPENDED", "CREDIT_LIMIT"]), json!(0)).await;
    assert!(t.sends(&team.key).await);
    expect(json!(["SUSPENDED", "CREDIT_LIMIT", "BALANCE"]), json!(0)).await;
    change(t, &team, "deactivateSubAccount", &account, json!({})).await;
    expect(json!(["INACTIVE", "CREDIT_LIMIT", "BALANCE"]), json!(0)).await;
    change(t, &team, "reactivateSubAccount", &account, json!({})).await;
    change(t, &team, "updateSubAccount", &account, json!({ "creditLimit": null })).await;
    expect(json!(["BALANCE"]), json!(null)).await;
    assert_eq!(t.top_up(&team, json!(1), "more").await.refusals(), NOTHING);
    expect(json!([]), json!(null)).await;
}
