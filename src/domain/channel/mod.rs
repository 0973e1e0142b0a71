//! What can be sent on which channel, and to whom.

pub mod content;
pub mod recipient;
pub mod segments;
