//! The allowed dependencies. A layer uses only the layers below it, a folder of the domain uses only the folders before
//! it, and modules do not use each other in a cycle.

mod graph;

use std::path::{Path, PathBuf};

use graph::{Graph, Sources};

/// The modules of each layer, beginning with the lowest layer. A layer may use itself and the layers below it. The
/// parts of a layer that are separated by `|` may not use each other.
const LAYERS: [&str; 6] = [
    "clock money json metrics time_zone fault limits db",
    "carrier",
    "domain app",
    "graphql",
    "http | worker",
    "cli crate",
];

/// The folders of the domain, in the order of their dependencies. The parts of a row that are separated by `|` may not
/// use each other.
const FOLDERS: [&str; 15] = [
    "deadline search validate page range csv_file import_pace message_batch",
    "caller list",
    "account",
    "write_rate",
    "audit_log",
    "api_key",
    "channel",
    "events",
    "opt_out",
    "billing",
    "contact | template | phone_number",
    "sender",
    "message",
    "team",
    "subscriptions",
];

/// The external crates that a layer must not use.
const FOREIGN: [(&str, &[&str]); 5] = [
    ("carrier", &["async_graphql", "axum", "sea_orm"]),
    ("domain", &["async_graphql", "axum"]),
    ("graphql", &["sea_orm", "axum", "migration"]),
    ("http", &["sea_orm", "entity", "migration"]),
    ("worker", &["async_graphql", "axum"]),
];

#[test]
fn layers_name_only_what_is_below_them() {
    let found = violations(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn entity_and_migration_know_nothing_of_the_program() {
    for (folder, forbidden) in [
        ("entity/src", ["tollgate", "migration", "async_graphql", "axum"]),
        ("migration/src", ["tollgate", "entity", "async_graphql", "axum"]),
    ] {
        for (module, uses) in &Graph::of(&Sources::read(&root().join(folder))).0 {
            for name in forbidden {
                assert!(!uses.contains(name), "{folder}: {module} names {name}");
            }
        }
    }
}

/// Shows that `layers_name_only_what_is_below_them` can fail. The test plants a forbidden use in several modules, one
/// at a time, and checks that each is reported.
#[test]
fn planted_upward_uses_are_found() {
    let sources = sources();
    for (module, planted) in [
        ("crate::money", "use crate::carrier::Carrier;"),
        ("crate::limits::quota", "fn planted() { crate::domain::page::limit(); }"),
        ("crate::carrier::sandbox", "use crate::domain::channel::recipient::Recipient;"),
        ("crate::domain::account", "use crate::graphql::scalars;"),
        ("crate::domain::account", "fn planted() -> async_graphql::Result<()> { Ok(()) }"),
        // The type of this field is defined in a folder that comes after `caller`.
        ("crate::domain::caller", "fn planted(app: &App) { app.writers.close(); }"),
        ("crate::domain::channel::content", "use super::super::billing::Verdict;"),
        ("crate::graphql::account", "use crate::http::Settings;"),
        ("crate::graphql::account", "use sea_orm::EntityTrait as _;"),
        ("crate::worker", "use crate::http::Settings;"),
        ("crate::http", "fn planted() { tokio::select! { () = crate::worker::run(app) => {} } }"),
    ] {
        let mut changed = sources.clone();
        let text = changed.0.get_mut(module).unwrap_or_else(|| panic!("{module} is a file"));
        text.push_str(planted);
        let found = violations(&changed);
        assert_eq!(found.len(), 1, "{module}: {planted}: {found:?}");
        assert!(found[0].starts_with(&format!("{module} names ")), "{found:?}");
    }
}

#[test]
fn modules_do_not_name_each_other_in_a_loop() {
    let mut graph = Graph::of(&sources());
    // `App` names the types of its fields, and the domain gets `App` as an argument. Both together would be a cycle.
    // Instead, a use of a field of `App` is a use of the module that defines the field's type.
    graph.0.remove("crate::app");
    // A module contains its submodules, so naming a submodule is not a dependency.
    for (module, uses) in &mut graph.0 {
        uses.retain(|used| !used.starts_with(&format!("{module}::")));
    }
    let is_allowed = |circle: &std::collections::BTreeSet<String>| {
        circle
            .iter()
            .all(|module| module.starts_with("crate::graphql::") && !module.contains("::execution"))
    };
    let circles: Vec<_> =
        graph.circles().into_iter().filter(|circle| !is_allowed(circle)).collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

/// Returns the dependencies that break the rules for layers, for the domain's folders or for external crates.
fn violations(sources: &Sources) -> Vec<String> {
    let graph = Graph::of(sources);
    assert!(graph.0.len() > 150, "only {} modules were read", graph.0.len());
    let mut found = Vec::new();
    for (module, uses) in &graph.0 {
        let path: Vec<&str> = module.split("::").skip(1).collect();
        let top = path.first().copied().unwrap_or("crate");
        let foreign =
            FOREIGN.iter().find(|(layer, _)| *layer == top).map_or(&[][..], |(_, names)| names);
        for used in uses {
            let of_crate = used.strip_prefix("crate::");
            let is_wrong = match of_crate {
                None => foreign.contains(&used.as_str()),
                Some(_) if top == "app" => false,
                Some(used) => {
                    let used: Vec<&str> = used.split("::").collect();
                    match (top, used[0]) {
                        ("domain", "domain") => match (path.get(1), used.get(1)) {
                            (Some(folder), Some(used)) => is_upward(&FOLDERS, folder, used),
                            _ => false,
                        },
                        (top, used) => is_upward(&LAYERS, top, used),
                    }
                }
            };
            if is_wrong {
                found.push(format!("{module} names {used}"));
            }
        }
    }
    found
}

/// Returns whether `used` is in a later row than `user`, or in another part of the same row.
fn is_upward(rows: &[&str], user: &str, used: &str) -> bool {
    let position = |name: &str| {
        let row = rows.iter().position(|row| row.split([' ', '|']).any(|of_row| of_row == name));
        let row = row.unwrap_or_else(|| panic!("{name} has a place in the order"));
        let part =
            rows[row].split('|').position(|part| part.split(' ').any(|of_part| of_part == name));
        (row, part)
    };
    let ((of_user, part_of_user), (of_used, part_of_used)) = (position(user), position(used));
    of_used > of_user || (of_used == of_user && part_of_used != part_of_user)
}

fn sources() -> Sources {
    let mut sources = Sources::read(&root().join("src"));
    sources.0.remove("crate::main");
    sources
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the Rust files in a folder and its subfolders.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a source folder");
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
