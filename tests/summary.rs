//! The last target of `cargo test --workspace`: repeats what was left out.

use std::io::Write as _;

fn main() {
    // Test runners ask each target for its tests.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let text = format!("The PostgreSQL half of the tests: {}\n", db_test::postgres_half!());
    std::io::stdout().write_all(text.as_bytes()).expect("standard output can be written");
}
