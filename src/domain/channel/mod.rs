//! What can be sent on which channel, and to whom.

pub mod content;
pub mod recipient;
pub mod schedule;
pub mod segments;
pub mod send_refusal;
pub mod sender_cache;
