//! What keeps one user of the server from taking what all share.

pub mod memory_budget;
pub mod quota;
pub mod read_through_cache;
