//! Reconciliation (`tollgate reconcile`) finds every drift, that is, every stored value that the test changes so that
//! it contradicts the ledger.

use chrono::TimeDelta;
use db_test::db_test;
use serde_json::json;

use crate::harness::TestApp;

#[db_test]
async fn the_audit_finds_each_planted_contradiction(t: &TestApp) {
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({})).await;
    assert!(t.sends(&sub.key).await);
    t.phone_number(&sub.key, "+12025550101").await;
    t.step(TimeDelta::seconds(1));
    t.deliver().await;

    for (tamper, complete_response, drifts) in [
        (
            "UPDATE team SET balance_micros = balance_micros + 1",
            "UPDATE team SET balance_micros = balance_micros - 1",
            1,
        ),
        (
            "UPDATE account SET total_spent_micros = total_spent_micros + 1 WHERE is_sub_account",
            "UPDATE account SET total_spent_micros = total_spent_micros - 1 WHERE is_sub_account",
            1,
        ),
        (
            "UPDATE message SET cost_micros = cost_micros + 1",
            "UPDATE message SET cost_micros = cost_micros - 1",
            1,
        ),
        // This change simulates a failed message that was not refunded.
        ("UPDATE message SET status = 'FAILED'", "UPDATE message SET status = 'DELIVERED'", 1),
        ("UPDATE message SET refunded_at = created_at", "UPDATE message SET refunded_at = NULL", 1),
        (
            "UPDATE usage_day SET charged_micros = charged_micros + 1",
            "UPDATE usage_day SET charged_micros = charged_micros - 1",
            1,
        ),
        ("UPDATE usage_day SET refunded_micros = 1", "UPDATE usage_day SET refunded_micros = 0", 1),
        (
            "UPDATE usage_day SET messages = messages + 1",
            "UPDATE usage_day SET messages = messages - 1",
            1,
        ),
        // The first change simulates a month that was not charged, and the second a month that was charged at another
        // price.
        ("UPDATE phone_number SET months_paid = 2", "UPDATE phone_number SET months_paid = 1", 1),
        (
            "UPDATE phone_number SET monthly_price_micros = 20000",
            "UPDATE phone_number SET monthly_price_micros = 10000",
            1,
        ),
        // This change simulates a phone number fee that is zero in the usage.
        (
            "UPDATE usage_day SET charged_micros = 0 WHERE channel = ''",
            "UPDATE usage_day SET charged_micros = 10000 WHERE channel = ''",
            1,
        ),
    ] {
        t.execute(tamper).await;
        let audit =
            tollgate::domain::billing::reconciliation::run(&t.app).await.expect("the audit runs");
        assert_eq!(audit.drifts.len(), drifts, "{tamper}: {:?}", audit.drifts);
        for drift in audit.drifts {
            let is_filled_in = !drift.fault.contains(['{', '}']);
            let names_row = drift.fault.contains(&format!(" {}: ", drift.id));
            assert!(is_filled_in && names_row, "{tamper}: {}", drift.fault);
        }
        t.execute(complete_response).await;
    }
}
