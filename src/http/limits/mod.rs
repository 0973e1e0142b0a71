//! What one client may take of the server: connections, places, and requests a second.

pub mod admission;
pub mod connections;
pub mod peers;
pub mod processor_time;
pub mod rate;
pub mod time_limit;
