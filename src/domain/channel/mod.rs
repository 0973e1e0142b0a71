//! Content, recipients, segments and schedules of messages, by channel.

pub mod content;
pub mod recipient;
pub mod schedule;
pub mod segments;
pub mod send_refusal;
pub mod sender_cache;
