//! Limits on shared resources, so that no user of the server can exhaust them.

pub mod memory_budget;
pub mod quota;
pub mod read_through_cache;
