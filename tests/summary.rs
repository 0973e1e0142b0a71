//! The last target of `cargo test --workspace`. It prints again whether the PostgreSQL tests ran.

use std::io::Write as _;

fn main() {
    // Test runners call each target with `--list` to list its tests.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let text = format!("Tests on PostgreSQL: {}\n", db_test::postgres_half!());
    std::io::stdout().write_all(text.as_bytes()).expect("standard output can be written");
}
