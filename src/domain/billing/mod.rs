//! Billing: the only code that writes a team's balance, a sub-account's total, and the ledger.
//!
//! There is one lock, the team's row. Every path that charges, refunds, tops up, or changes a limit, a
//! status or a team's key takes it before it writes anything, and reads the other rows afterwards. So
//! rows that were read under the lock do not change until the commit, and there is one lock order. On
//! `SQLite` the IMMEDIATE transaction is that lock. Checks and charge are therefore one atomic step
//! for any number of clients, connections and processes.
//!
//! - [`accept`]: takes priced messages and returns verdicts, through a bounded [`queue`].
//! - [`writer`]: commits the waiting messages together: messages, ledger entries, balances, totals and
//!   usage in one transaction. Callers get their verdicts only after the commit.
//! - [`batch`]: the outcome of a batch as a pure function, with a [`verdict`] on each message in order.
//! - [`store`]: the statements of a batch, for each database.
//! - [`refund`]: refunds a message that is FAILED, EXPIRED or CANCELED, once and in full.
//! - [`number_fee`]: the fees of phone numbers, at the purchase and each month.
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
