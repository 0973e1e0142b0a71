//! Generates the reference page about settings: every environment variable that an option of the program reads.

use super::{
    command_line::{Leaf, Opt, code, common, leaves},
    page::Page,
};

pub fn page() -> Page {
    let mut page = Page::new("Settings");
    page.text(
        "A setting is an environment variable or an option of the [command line](command-line.md). The option takes \
         precedence. The value of a switch is `true` or `false`. Lists are separated by commas.",
    );
    let leaves = leaves();
    let mut settings: Vec<&Opt> = Vec::new();
    let serve = leaves.iter().filter(|leaf| leaf.name == "serve");
    for option in serve.chain(&leaves).flat_map(|leaf| &leaf.options) {
        if option.variable.is_some() && !settings.contains(&option) {
            settings.push(option);
        }
    }
    let mut rows: Vec<[String; 5]> = settings
        .into_iter()
        .map(|option| {
            let variable = code(option.variable.as_deref().unwrap_or_default());
            let long = code(option.long.as_deref().unwrap_or_default());
            let commands = commands(&leaves, option);
            [variable, long, code(&option.default), commands, option.meaning.clone()]
        })
        .collect();
    rows.push(
        [
            "`TZDIR`",
            "",
            "",
            "`serve`, `demo`",
            "A folder with the IANA time zone database, such as /usr/share/zoneinfo. By default that folder is used if \
             its version is newer than the database in the program.",
        ]
        .map(str::to_owned),
    );
    page.table_of(["Environment variable", "Option", "Default", "Commands", "Meaning"], rows);

    page.heading("Notes");
    page.text(
        "- Without `?mode=rwc` in the database URL, the SQLite file must exist.\n\
         - `DATABASE_URL` and `DATABASE_URL_FILE` exclude each other.\n\
         - On PostgreSQL, each writer of a process has one more connection ([scaling](../operations/scaling.md)).\n\
         - An origin is written as browsers send it: without a path, a wildcard, capital letters or the default port.\n\
         - The [limits](limits.md#rate-limits) explain what the rate limits count.\n\
         - All clients of a proxy that is not in `--trusted-proxies` count as one address.\n\
         - Tollgate speaks plain HTTP. Put a proxy that terminates TLS in front of it.\n\
         - Keys, recipients and the texts of messages are not logged.",
    );
    page
}

/// Returns the names of the commands that have an option.
fn commands(leaves: &[Leaf], option: &Opt) -> String {
    let names = |leaves: Vec<&Leaf>| {
        leaves.iter().map(|leaf| format!("`{}`", leaf.name)).collect::<Vec<_>>().join(", ")
    };
    let (with, without): (Vec<_>, Vec<_>) =
        leaves.iter().partition(|leaf| leaf.options.contains(option));
    if without.is_empty() {
        "all".to_owned()
    } else if common(leaves).contains(option) {
        format!("all except {}", names(without))
    } else {
        names(with)
    }
}
