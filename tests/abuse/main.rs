//! Abuse: attacks on the release program, each beside a probe of another team. Proven: the process and the
//! probe live on. A row is printed for each attack; a test fails if the process ends, if its memory passes
//! 200 MB, or if a request of the probe is refused or takes longer than 2 seconds. No other time is asserted.
//!
//! Not run by `cargo test`. A short round, and all of it:
//!
//! ```sh
//! cargo test --release --test abuse
//! TOLLGATE_ABUSE=full cargo test --release --test abuse
//! ```
//!
//! Attacks take turns, whatever `--test-threads` says. Linux only. The PostgreSQL half needs `initdb` and
//! `postgres`, and is ignored without them. All connections are of this machine, and each attack ends by itself.

use support::{Database, client, eventually, folder, is_full, postgres, say, scale, server};

mod answers;
mod attack;
mod backlog;
mod bombs;
mod counts;
mod figures;
mod floods;
mod forbidden;
mod heads;
mod introspection;
mod json;
mod long_messages;
mod mutations;
mod probe;
mod process;
mod requests;
mod slow_bodies;
mod socket;
mod stage;
mod subscriptions;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other suites use more of it")]
mod support;
mod tally;
mod templates;
mod usage;
mod variables;
mod wire;
mod wrong_keys;
