//! The credit limit and the balance determine exactly how many messages are accepted, even if many are sent
//! concurrently.

use std::sync::Arc;

use db_test::db_test;
use futures_util::future::join_all;
use serde_json::json;
use tollgate::money::Micros;

use super::{MICROS_PER_CENT, assert_charged_once};
use crate::harness::TestApp;

fn ceil_div(limit: i64, price: i64) -> i64 {
    (limit + price - 1) / price
}

/// For a limit L and a price p, exactly ceil(L/p) messages are accepted. After the limit is raised, the very next
/// message is accepted.
#[db_test]
async fn a_limit_allows_the_messages_up_to_and_including_the_one_that_crosses_it(t: &TestApp) {
    for limit_cents in [1, 7, 50, 999, 1000, 1001] {
        let limit = limit_cents * MICROS_PER_CENT;
        // Some of these prices divide the limit without a remainder, and others do not.
        for price in [limit, limit / 2, limit / 10, limit / 3 + 1, limit + 1, limit / 7 + 1] {
            t.set_sms_price(price).await;
            let team = t.team(1_000_000).await;
            let sub = t.sub_account(&team, json!({ "creditLimit": limit_cents })).await;
            let expected = ceil_div(limit, price);

            let mut accepted = 0;
            while t.sends(&sub.key).await {
                accepted += 1;
            }
            let refused = t.send(&sub.key, json!({ "to": "+12025550123", "text": "Hi" })).await;

            assert_eq!(accepted, expected, "limit {limit}, price {price}");
            assert_eq!(refused.refusals(), ["CREDIT_LIMIT_REACHED"]);
            let spent = expected * price;
            assert_spent(t, &sub.key, 1_000_000 * MICROS_PER_CENT - spent, spent).await;

            let raised = spent / MICROS_PER_CENT + 1;
            t.set_limit(&team.key, &sub.id, json!(raised)).await;
            assert!(t.sends(&sub.key).await, "a raised limit applies immediately");
        }
    }
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_holds_against_200_concurrent_sends(
    t: &Arc<TestApp>,
    #[values(
        (1, 10_000), (1, 3_000), (7, 10_000), (7, 3_000), (50, 20_000), (50, 21_000),
        (999, 333_000), (999, 330_001), (1000, 500_000), (1000, 300_000), (1001, 143_000), (1001, 350_000)
    )]
    case: (i64, i64),
) {
    let (limit_cents, price) = case;
    t.set_sms_price(price).await;
    let team = t.team(1_000_000).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": limit_cents })).await;
    let limit = limit_cents * MICROS_PER_CENT;

    let accepted = at_once(t, 200, |_| sub.key.clone()).await;

    let expected = ceil_div(limit, price);
    assert_eq!(accepted, expected);
    let spent = expected * price;
    assert_spent(t, &sub.key, 1_000_000 * MICROS_PER_CENT - spent, spent).await;
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_sub_accounts_spend_exactly_the_shared_balance(t: &Arc<TestApp>) {
    t.set_sms_price(7 * MICROS_PER_CENT).await;
    let team = t.team(100).await;
    let mut keys = Vec::new();
    for number in 0..20 {
        keys.push(t.sub_account(&team, json!({ "name": format!("Client {number}") })).await.key);
    }

    let accepted = at_once(t, 200, move |number| keys[number % 20].clone()).await;

    assert_eq!(accepted, 14, "100 cents pay for 14 messages of 7 cents");
    let balance = t.number("SELECT balance_micros FROM team").await;
    assert_eq!(balance, 2 * MICROS_PER_CENT);
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, 14);
}

/// Sends `count` messages concurrently, and returns how many were accepted. `key` returns the key for each message.
async fn at_once(t: &Arc<TestApp>, count: usize, key: impl Fn(usize) -> String) -> i64 {
    let senders = (0..count).map(|number| {
        let (t, key) = (Arc::clone(t), key(number));
        tokio::spawn(async move { t.sends(&key).await })
    });
    let verdicts = join_all(senders).await;
    let accepted = verdicts.into_iter().filter(|verdict| *verdict.as_ref().expect("a verdict"));
    i64::try_from(accepted.count()).expect("a small number")
}

#[db_test]
async fn a_main_account_has_no_limit_and_no_total(t: &TestApp) {
    t.set_sms_price(30 * MICROS_PER_CENT).await;
    let team = t.team(100).await;

    for _ in 0..3 {
        assert!(t.sends(&team.key).await);
    }
    let before = t.everything().await;
    let refused = t.send(&team.key, json!({ "to": "+12025550123", "text": "Hi" })).await;

    assert_eq!(refused.refusals(), ["INSUFFICIENT_BALANCE"]);
    assert_eq!(t.everything().await, before);
    let account =
        t.ask(&team.key, "{ account { totalSpent creditLimit } balance { balance } }").await;
    assert_eq!(
        *account.data(),
        json!({ "account": { "totalSpent": null, "creditLimit": null }, "balance": { "balance": 10 } })
    );
}

/// A limit of null means unlimited. A limit that is 0 or lower than the total spent blocks the account.
#[db_test]
async fn a_changed_limit_applies_to_the_next_message(t: &TestApp) {
    t.set_sms_price(10 * MICROS_PER_CENT).await;
    let team = t.team(1000).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 0 })).await;
    assert!(!t.sends(&sub.key).await, "with a limit of 0, nothing may be spent");

    t.set_limit(&team.key, &sub.id, json!(null)).await;
    for _ in 0..5 {
        assert!(t.sends(&sub.key).await, "null: no limit");
    }
    t.set_limit(&team.key, &sub.id, json!(49.9999)).await;
    assert!(!t.sends(&sub.key).await, "a limit below the amount spent");
    t.set_limit(&team.key, &sub.id, json!(50)).await;
    assert!(!t.sends(&sub.key).await, "a limit equal to the amount spent");
    t.set_limit(&team.key, &sub.id, json!(50.0001)).await;
    assert!(
        t.sends(&sub.key).await,
        "a limit of a ten-thousandth of a cent above the amount spent"
    );
}

#[db_test]
async fn free_messages_are_not_blocked_by_limit_or_balance(t: &TestApp) {
    t.set_sms_price(0).await;
    let team = t.team(0).await;
    let sub = t.sub_account(&team, json!({ "creditLimit": 0 })).await;

    assert!(t.sends(&sub.key).await);

    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry").await, 0);
}

/// A send that is still in progress when its key is revoked is refused.
#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_accepted_after_its_key_was_revoked(t: &Arc<TestApp>) {
    let team = t.team(1_000_000).await;
    let sub = t.sub_account(&team, json!({})).await;
    let burst = (0..40).map(|_| {
        let (t, key) = (Arc::clone(t), sub.key.clone());
        tokio::spawn(
            async move { t.send(&key, json!({ "to": "+12025550123", "text": "Hi" })).await },
        )
    });
    let burst: Vec<_> = burst.collect();

    t.revoke_key(&team, &sub.key_id).await;
    let accepted_then = t.number("SELECT COUNT(*) FROM message").await;
    let answers = join_all(burst).await;

    let mut accepted = 0;
    for answer in answers {
        let answer = answer.expect("a response");
        match answer.codes()[..] {
            ["UNAUTHENTICATED"] => {}
            _ => accepted += i64::from(answer.refusals().is_empty()),
        }
    }
    assert_eq!(accepted, accepted_then, "accepted after the revocation");
    assert_eq!(t.number("SELECT COUNT(*) FROM message").await, accepted);
}

#[db_test]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_repeats_under_one_idempotency_key_charge_once(t: &Arc<TestApp>) {
    let team = t.team(1000).await;
    let input = json!({ "to": "+12025550123", "text": "Hi", "idempotencyKey": "order-1" });

    let senders = (0..50).map(|_| {
        let (t, key, input) = (Arc::clone(t), team.key.clone(), input.clone());
        tokio::spawn(async move { t.send(&key, input).await })
    });
    let answers = join_all(senders).await;

    assert_charged_once(t, answers).await;
}

/// Asserts the balance and the total spent that the sub-account sees. Both arguments are in micro-units.
async fn assert_spent(t: &TestApp, key: &str, balance: i64, total_spent: i64) {
    let answer = t.ask(key, "{ balance { balance totalSpent } }").await;
    let micros = |field: &str| {
        let cents = answer.data()["balance"][field].to_string();
        Micros::from_cents_text(&cents).expect("cents").get()
    };
    assert_eq!((micros("balance"), micros("totalSpent")), (balance, total_spent));
}
