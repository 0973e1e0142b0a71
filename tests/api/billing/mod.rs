//! Billing: charges, limits, refunds, usage and the ledger.

mod ledger;
mod limit;
mod races;
mod reconciliation;
mod refund;
mod usage;
mod writer;

const MICROS_PER_CENT: i64 = 10_000;
