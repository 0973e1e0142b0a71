//! Fault injection: the release program is tested while it or its database is killed, its disk is full, or
//! its network is cut. Each test checks that no acknowledged message is lost, that a retry with the same
//! idempotency key never charges twice, that the reconciliation finds no drift, and that the server recovers by itself.
//!
//! `cargo test` does not run this suite. These commands start the short and the full run:
//!
//! ```sh
//! cargo test --release --test faults
//! TOLLGATE_FAULTS=full cargo test --release --test faults -- --test-threads=1
//! ```
//!
//! Linux only. The PostgreSQL tests need `initdb` and `postgres`, and are ignored without them. The tests
//! of a full disk need root, and print a line if they are skipped. A run prints its random seed;
//! `TOLLGATE_FAULTS_SEED` repeats it.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::LazyLock,
};

use rand::{SeedableRng as _, rngs::StdRng};
use support::{Database, client, eventually, folder, postgres, report, scale, server};

mod consistency;
mod disk;
mod fixture;
mod kill;
mod load;
mod network;
mod proxy;
mod renewal;
mod sockets;
mod stop;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "the other suite uses more of it")]
mod support;

/// Returns a random generator with the seed of the run.
fn seeded_rng() -> StdRng {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        let given = std::env::var("TOLLGATE_FAULTS_SEED").ok();
        let given = given.map(|seed| seed.parse().expect("TOLLGATE_FAULTS_SEED is a number"));
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(()));
        report(&format!("TOLLGATE_FAULTS_SEED={seed}"));
        seed
    });
    StdRng::seed_from_u64(*SEED)
}
