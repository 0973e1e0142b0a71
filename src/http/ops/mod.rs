//! What operators look at: health, metrics and the log.

pub mod health;
pub mod log;
pub mod metrics;
