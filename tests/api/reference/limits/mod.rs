//! Generates the reference page about limits. Every number comes from the constant that the server enforces.

mod connections;
mod data;
mod requests;

use super::page::{Page, count};

pub fn page() -> Page {
    let mut page = Page::new("Limits");
    page.text(
        "The limits protect the users of a server from each other. They are fixed; the rate limits can be \
         [set](settings.md). 1 KiB is 1,024 bytes and 1 MiB is 1,024 KiB. A limit that names no account, team or \
         address applies to the whole `serve` process.",
    );
    requests::requests(&mut page);
    requests::rate_limits(&mut page);
    requests::load(&mut page);
    data::writing(&mut page);
    data::stored_data(&mut page);
    data::responses(&mut page);
    data::lists(&mut page);
    data::fields(&mut page);
    data::templates(&mut page);
    connections::connections(&mut page);
    connections::websockets(&mut page);
    connections::files(&mut page);
    page
}

fn levels<N: TryInto<u64>>(number: N) -> String {
    format!("{} levels", count(number))
}

fn with_team(of_all: &str, of_team: &str) -> String {
    format!("{of_all}; {of_team} of one team")
}

fn with_address(of_all: &str, of_address: &str) -> String {
    format!("{of_all}; {of_address} of one address")
}

fn connections_of(number: u32) -> String {
    format!("{number} database connection{}", if number == 1 { "" } else { "s" })
}

fn fraction(part: f64) -> String {
    format!("1/{:.0}", 1.0 / part)
}
