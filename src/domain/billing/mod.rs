//! The only code that moves money: it alone writes a team's balance, a sub-account's total, and the
//! ledger.
//!
//! The rule: one lock, the team's row. Every path that charges, refunds, tops up, or changes a limit,
//! a status or a team's key takes it before it writes anything, and reads the rest in later
//! statements: what was read under the lock holds until the commit, and there is one lock order. On `SQLite` the
//! IMMEDIATE transaction is that lock. Checks and charge are thereby one atomic step (R10), whatever
//! the number of clients, connections and processes.
//!
//! - [`accept`]: priced messages in, verdicts out, by way of a bounded [`queue`].
//! - [`writer`]: takes what waits and commits it together: message, ledger entry, balance, total and
//!   usage in one transaction, or none of them (R7). What survives a crash is what was answered.
//! - [`batch`]: the judgement of a batch in order, a pure function, by the [`verdict`] on each (R8).
//! - [`store`]: the statements of a batch, on each database.
//! - [`refund`]: back once, in full, what reached no provider (R12).
//! - [`number_fee`]: what phone numbers cost, when they are bought and each month.
//! - [`deposit`]: top-ups and adjustments by operators.

mod accept;
mod batch;
mod deposit;
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
pub mod usage;
pub mod usage_counters;
mod verdict;
mod writer;

pub use super::channel::send_refusal::SendRefusal;
pub use super::deadline::Deadline;
pub use accept::{accept, accept_one, quote};
pub use deposit::{AdjustRefusal, Adjustment, Deposited, TopUp, TopUpRefusal, adjust, top_up};
pub use number_fee::{FeeRefusal, NumberFees};
pub use queue::WAITING_OF_TEAM_MAX;
pub use refund::{cancel, cancel_waiting, newest_waiting, refund, waiting};
pub use store::Statements;
pub use verdict::{AccountState, Draft, Judgement, PriceRefusal, PricedMessage, Verdict};
pub use writer::{WriterHooks, Writers};
