//! Attacks on the release program, while a probe that belongs to another team sends and reads messages. A test fails if
//! the process ends, if the memory of the process exceeds 200 MB, or if a request of the probe is refused or takes
//! longer than 2 seconds. Each attack prints a row of a table.
//!
//! `cargo test` does not run this suite. These commands start the short and the full run:
//!
//! ```sh
//! cargo test --release --test abuse
//! TOLLGATE_ABUSE=full cargo test --release --test abuse
//! ```
//!
//! Attacks run one at a time, regardless of `--test-threads`. Linux only. The PostgreSQL tests need `initdb`
//! and `postgres`, and are ignored without them. Only local connections are used.

use support::{Database, client, eventually, folder, is_full, postgres, report, scale, server};

mod answers;
mod attack;
mod backlog;
mod bombs;
mod counts;
mod figures;
mod fixture;
mod floods;
mod forbidden;
mod heads;
mod introspection;
mod json;
mod long_messages;
mod mutations;
mod probe;
mod process;
mod raw_client;
mod requests;
mod slow_bodies;
mod socket;
mod subscriptions;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "the other suite uses more of it")]
mod support;
mod tally;
mod templates;
mod usage;
mod variables;
mod wrong_keys;
