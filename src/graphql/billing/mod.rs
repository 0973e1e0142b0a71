//! Money: the ledger and usage.

pub mod ledger;
pub mod usage;
