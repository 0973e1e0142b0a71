//! Faults: the real program over HTTP and the command line, while it, its database, its disk and its
//! network are killed, filled and cut. Proven: what was acknowledged is there, a retry with the same
//! key never charges twice, the audit is clean, and the server comes back by itself.
//!
//! Not run by `cargo test`. A short round, and all of it:
//!
//! ```sh
//! cargo test --release --test faults
//! TOLLGATE_FAULTS=full cargo test --release --test faults -- --test-threads=1
//! ```
//!
//! Linux only. The PostgreSQL half needs `initdb` and `postgres`, and is ignored without them. The full disk needs
//! root, and says so where it is skipped. `TOLLGATE_FAULTS_SEED` repeats the chance of a run, which prints its seed.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::LazyLock,
};

use rand::{SeedableRng as _, rngs::StdRng};
use support::{Database, client, eventually, folder, postgres, say, scale, server};

mod books;
mod disk;
mod kill;
mod load;
mod network;
mod proxy;
mod renewal;
mod sockets;
mod stage;
mod stop;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other suites use more of it")]
mod support;

/// Chance that a run can repeat.
fn chance() -> StdRng {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        let given = std::env::var("TOLLGATE_FAULTS_SEED").ok();
        let given = given.map(|seed| seed.parse().expect("TOLLGATE_FAULTS_SEED is a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(()));
        say(&format!("TOLLGATE_FAULTS_SEED={seed}"));
        seed
    });
    StdRng::seed_from_u64(*SEED)
}
