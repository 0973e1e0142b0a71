//! Endpoints and logs for the server's operator: health, metrics and request logs.

pub mod health;
pub mod log;
pub mod metrics;
