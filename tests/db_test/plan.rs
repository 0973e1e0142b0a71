//! Prints what `cargo test --workspace` does and how long it takes.

use std::io::Write as _;

fn main() {
    // Test runners ask each target for its tests.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let half = db_test::postgres_half!();
    let text = format!(
        "The tests take about 7 minutes on 2 idle cores. Most run twice:\n  SQLite: run.\n  PostgreSQL: {half}\n"
    );
    std::io::stdout().write_all(text.as_bytes()).expect("standard output can be written");
    let is_ci = std::env::var("CI").as_deref() == Ok("true");
    assert!(cfg!(postgres) || !is_ci, "CI runs both halves of the tests");
}
