//! The limits for one client: connections, concurrent requests, rates and invalid keys.

pub mod admission;
pub mod connections;
pub mod peers;
pub mod processor_time;
pub mod rate;
pub mod time_rate;
