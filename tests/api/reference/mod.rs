//! The pages in `docs/reference` are generated from the code, except for `http.md`. The tests compare the committed
//! pages with the generated pages. To write the pages after a change: `UPDATE_REFERENCE=1 cargo test --test api
//! reference::`.

mod command_line;
mod errors;
mod limits;
mod links;
mod page;
mod settings;

use std::{fs, path::PathBuf};

use page::Page;

#[test]
fn the_page_of_errors_is_current() {
    check("errors.md", errors::page());
}

#[test]
fn the_page_of_limits_is_current() {
    check("limits.md", limits::page());
}

#[test]
fn the_page_of_commands_is_current() {
    check("command-line.md", command_line::page());
}

#[test]
fn the_page_of_settings_is_current() {
    check("settings.md", settings::page());
}

/// Limits belong on the generated page about limits, where the numbers are always correct.
#[test]
fn the_page_of_http_has_no_numbers_but_statuses_and_names() {
    const STATUSES: [&str; 6] = ["200", "400", "429", "431", "501", "503"];
    // These numbers are in the version of persisted queries, W3C, SHA-256, HTTP/1.0, RFC 9112, and the number of checks
    // of `graphql-http`.
    const NAMES: [&str; 6] = ["1", "3", "256", "1.0", "9112", "61"];
    let page = fs::read_to_string(path("http.md")).expect("the page exists");
    let words = page.split(|char: char| !char.is_ascii_digit() && !".,".contains(char));
    let numbers = words.map(|word| word.trim_matches(['.', ','])).filter(|word| !word.is_empty());
    let others: Vec<_> =
        numbers.filter(|number| !STATUSES.contains(number) && !NAMES.contains(number)).collect();
    assert_eq!(others, [""; 0], "move the limits to tests/api/reference/limits");
}

/// Compares a committed page with the generated page. With `UPDATE_REFERENCE`, writes the generated page instead.
fn check(name: &str, page: Page) {
    let (path, expected) = (path(name), page.into_text());
    if std::env::var_os("UPDATE_REFERENCE").is_some_and(|update| update == "1") {
        fs::write(path, expected).expect("the page can be written");
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let mut lines = found.lines().zip(expected.lines());
    let first = lines.find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "docs/reference/{name} is out of date; run: UPDATE_REFERENCE=1 cargo test --test api reference::\n\
         The first line that differs, committed and generated: {first:#?}"
    );
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reference").join(name)
}
