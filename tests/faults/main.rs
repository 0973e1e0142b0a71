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
//! Linux only. The PostgreSQL half needs `initdb` and `postgres`, the full disk needs root; what is
//! skipped says so. `TOLLGATE_FAULTS_SEED` repeats the chance of a run, which prints its seed.

use std::{
    hash::{BuildHasher as _, RandomState},
    io::Write as _,
    sync::LazyLock,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};

mod books;
mod client;
mod disk;
mod folder;
mod kill;
mod load;
mod network;
mod postgres;
#[path = "../support/programs.rs"]
mod programs;
mod proxy;
mod renewal;
mod server;
mod sockets;
mod stage;
mod stop;

/// The databases that the faults are tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Database {
    Sqlite,
    Postgres,
}

/// How much of something: in the short round, and in full.
fn scale<T>(short: T, full: T) -> T {
    match std::env::var("TOLLGATE_FAULTS").as_deref() {
        Ok("full") => full,
        Ok("") | Err(_) => short,
        Ok(other) => panic!("TOLLGATE_FAULTS is \"full\" or nothing, not {other:?}"),
    }
}

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

/// Says something past the test runner's capture, so that it is seen.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "faults: {text}");
}

/// How a log begins and ends: what came first is often the cause of the rest.
fn excerpt(log: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = log.lines().collect();
    let begin = lines.len().min(LINES);
    let end = lines.len().saturating_sub(LINES).max(begin);
    let middle = format!("({} lines are left out)", end - begin);
    [&lines[..begin], &[&middle], &lines[end..]].concat().join("\n")
}

/// Waits for something to become true, and says how long that took.
#[track_caller]
fn eventually<F: AsyncFnMut() -> bool>(
    deadline: Duration,
    what: &str,
    mut is_true: F,
) -> impl Future<Output = Duration> {
    let begun = Instant::now();
    let caller = std::panic::Location::caller();
    async move {
        loop {
            if is_true().await {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < deadline, "{what} within {deadline:?} ({caller})");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
