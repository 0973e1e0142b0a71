//! Money and what it was spent on.

pub mod ledger;
pub mod usage;
