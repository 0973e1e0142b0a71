//! The first target that `cargo test --workspace` runs. Prints what the tests do and how long they take.

use std::io::Write as _;

fn main() {
    // Test runners start each target with `--list` to list the tests. This target has no tests.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let half = db_test::postgres_half!();
    let text = format!(
        "The tests take about 7 minutes on 2 idle cores. Most run on both databases:\n  SQLite: run.\n  PostgreSQL: {half}\n"
    );
    std::io::stdout().write_all(text.as_bytes()).expect("standard output can be written");
    let is_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(cfg!(postgres) || !is_ci, "CI must run the tests on PostgreSQL");
}
