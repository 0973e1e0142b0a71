//! The rule of direction: a layer names only what stands below it.

use std::path::{Path, PathBuf};

/// The layers, and what must not be named in them.
const FORBIDDEN: [(&str, &[&str]); 7] = [
    ("entity/src", &["async_graphql", "axum", "tollgate", "migration::"]),
    ("migration/src", &["entity::", "tollgate", "async_graphql", "axum"]),
    (
        "src/domain",
        &[
            "async_graphql",
            "axum",
            "crate::graphql",
            "crate::http",
            "crate::worker",
            "crate::cli",
            "crate::carrier",
        ],
    ),
    (
        "src/carrier",
        &["async_graphql", "axum", "sea_orm", "crate::graphql", "crate::http", "crate::worker"],
    ),
    (
        "src/graphql",
        &[
            "sea_orm",
            "ActiveModel",
            "QueryFilter",
            "ConnectionTrait",
            "axum",
            "crate::http",
            "crate::worker",
            "crate::cli",
        ],
    ),
    (
        "src/worker",
        &[
            "async_graphql",
            "axum",
            "crate::graphql",
            "crate::http",
            "crate::cli",
            "ConnectionTrait",
        ],
    ),
    ("src/http", &["sea_orm", "entity::", "crate::worker", "crate::cli"]),
];

/// D1, D3 and the architecture of the design.
#[test]
fn layers_name_only_what_stands_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut looked_at = 0;
    for (layer, forbidden) in FORBIDDEN {
        for path in rust_files(&root.join(layer)) {
            let source = std::fs::read_to_string(&path).expect("a source file");
            // Text for people may say what it likes.
            let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (number, line) in code.enumerate() {
                for name in forbidden {
                    assert!(
                        !line.contains(name),
                        "{} names {name} ({number}): {line}",
                        path.display()
                    );
                }
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 40, "only {looked_at} files were looked at");
}

/// The Rust files of a folder and its folders.
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
