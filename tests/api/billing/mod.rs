//! Billing: charges, limits, refunds, usage and the ledger.

mod ledger;
mod limit;
mod races;
mod reconciliation;
mod refund;
mod usage;
mod writer;

use std::collections::BTreeSet;

use tokio::task::JoinError;

use crate::harness::{Answer, TestApp};

const MICROS_PER_CENT: i64 = 10_000;

/// Asserts that exactly one of several concurrent sends of the same message was accepted and charged, and that the
/// other responses contain the same message.
async fn assert_charged_once(t: &TestApp, answers: Vec<Result<Answer, JoinError>>) {
    let mut first = 0;
    let mut ids = BTreeSet::new();
    for answer in answers {
        let answer = answer.expect("a response");
        let payload = &answer.data()["sendMessage"];
        first += i64::from(payload["replayed"] == false);
        ids.insert(payload["message"]["id"].to_string());
    }
    assert_eq!((first, ids.len()), (1, 1));
    assert_eq!(t.number("SELECT COUNT(*) FROM ledger_entry WHERE kind = 'CHARGE'").await, 1);
}
