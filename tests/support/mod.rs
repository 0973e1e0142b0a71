//! What the suites that start the release program share: the program and its commands, a PostgreSQL of
//! their own, a folder that is cleaned up however the run ends, and a small HTTP client.

use std::{
    io::Write as _,
    panic::Location,
    time::{Duration, Instant},
};

pub mod client;
pub mod folder;
pub mod postgres;
pub mod programs;
pub mod server;

/// The suite's name, as in `cargo test --test NAME`.
pub const SUITE: &str = env!("CARGO_CRATE_NAME");

/// The databases that everything is tried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// Whether the full round is asked for, by `TOLLGATE_FAULTS=full` in the suite `faults`.
pub fn is_full() -> bool {
    let name = format!("TOLLGATE_{}", SUITE.to_uppercase());
    match std::env::var(&name).as_deref() {
        Ok("full") => true,
        Ok("") | Err(_) => false,
        Ok(other) => panic!("{name} is \"full\" or nothing, not {other:?}"),
    }
}

/// How much of something: in the short round, and in full.
pub fn scale<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}

/// Says something past the test runner's capture, so that it is seen.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{SUITE}: {text}");
}

/// How a log begins and ends: what came first is often the cause of the rest.
pub fn excerpt(log: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = log.lines().collect();
    let begin = lines.len().min(LINES);
    let end = lines.len().saturating_sub(LINES).max(begin);
    let middle = format!("({} lines are left out)", end - begin);
    [&lines[..begin], &[&middle], &lines[end..]].concat().join("\n")
}

/// Waits for something to become true, and says how long that took.
#[track_caller]
pub fn eventually<F: AsyncFnMut() -> bool>(
    deadline: Duration,
    what: &str,
    mut is_true: F,
) -> impl Future<Output = Duration> {
    let begun = Instant::now();
    let caller = Location::caller();
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
