//! Billing: the only code that writes a team's balance, a sub-account's total, and the ledger.
//!
//! The only lock is the lock on the team's row. Every operation that charges, refunds, tops up, or changes a limit, a
//! status or a key of the team takes this lock before it writes anything, and reads the other rows afterwards. So rows
//! that were read under the lock do not change until the commit, and every operation takes its locks in the same order.
//! On `SQLite`, the IMMEDIATE transaction has the effect of this lock. The checks and the charge are therefore one
//! atomic step for any number of clients, connections and processes.
//!
//! - [`accept`]: passes priced messages to a writer through a bounded [`queue`], and returns the verdicts.
//! - [`writer`]: commits waiting messages together. One transaction writes the messages, ledger entries, balances,
//!   totals and usage. Callers get their verdicts only after the commit.
//! - [`batch`]: determines the outcome of a batch with a pure function, which gives a [`verdict`] on each message in
//!   order.
//! - [`store`]: the SQL statements for a batch on each database.
//! - [`refund`]: refunds a message that is FAILED, EXPIRED or CANCELED, once and in full.
//! - [`number_fee`]: charges for phone numbers, at the purchase and each month.
//! - [`top_up`]: top-ups and adjustments by operators.

mod accept;
mod batch;
pub mod ledger_list;
mod movements;
mod number_fee;
pub mod price;
pub mod price_import;
mod queue;
pub mod reconciliation;
mod refund;
mod store;
pub mod test_storage;
mod top_up;
pub mod usage;
pub mod usage_counters;
mod verdict;
mod writer;

pub use super::channel::send_refusal::SendRefusal;
pub use super::deadline::Deadline;
pub use accept::{accept, accept_one, quote};
pub use number_fee::{FeeRefusal, NumberFees};
pub use queue::WAITING_OF_TEAM_MAX;
pub use refund::{cancel, cancel_waiting, newest_waiting, refund, waiting};
pub use store::Statements;
pub use top_up::{AdjustRefusal, Adjustment, Deposited, TopUp, TopUpRefusal, adjust, top_up};
pub use verdict::{AccountState, Draft, Judgement, PriceRefusal, PricedMessage, Verdict};
pub use writer::{WriterHooks, Writers};
