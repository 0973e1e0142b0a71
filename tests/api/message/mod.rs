//! Messages: sent, scheduled, canceled, delivered and listed.

mod backlog;
mod content;
mod delivery;
mod delivery_turns;
mod list;
mod quiet_hours;
mod schedule;
mod send;
mod test_retention;
mod write_rate;
