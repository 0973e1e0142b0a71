//! Code shared by the suites that start the release program: the program and its commands, a PostgreSQL server, a
//! folder that is removed even if the run is killed, and a small HTTP client.

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

/// The databases on which the suites run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// Returns whether this is the full run. For example, `TOLLGATE_FAULTS=full` requests the full run of the suite
/// `faults`.
pub fn is_full() -> bool {
    let name = format!("TOLLGATE_{}", SUITE.to_uppercase());
    match std::env::var(&name).as_deref() {
        Ok("full") => true,
        Ok("") | Err(_) => false,
        Ok(other) => panic!("{name} is not valid (expected \"full\" or nothing): {other:?}"),
    }
}

/// Returns the first value in the short run and the second value in the full run.
pub fn scale<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}

/// Prints a line that the test runner does not capture.
pub fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "{SUITE}: {text}");
}

/// Returns the first and the last lines of a log. The first lines are included because the first error is often the
/// cause of later errors.
pub fn excerpt(log: &str) -> String {
    const LINES: usize = 40;
    let lines: Vec<&str> = log.lines().collect();
    let begin = lines.len().min(LINES);
    let end = lines.len().saturating_sub(LINES).max(begin);
    let middle = format!("({} lines are left out)", end - begin);
    [&lines[..begin], &[&middle], &lines[end..]].concat().join("\n")
}

/// Waits until the condition is true, and returns how long that took.
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
