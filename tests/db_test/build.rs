//! Looks for PostgreSQL at build time, because `#[ignore]` is part of the compiled test.

#[path = "../support/programs.rs"]
#[expect(dead_code, reason = "the other functions are for the tests")]
mod programs;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TEST_DATABASE_URL");
    // The folder is passed to `rerun-if-changed` only if the folder exists. Otherwise, every build would run this
    // script again.
    if std::path::Path::new(programs::DEBIAN_FOLDER).exists() {
        println!("cargo::rerun-if-changed={}", programs::DEBIAN_FOLDER);
    }
    println!("cargo::rustc-check-cfg=cfg(postgres)");
    let server = if std::env::var_os("TEST_DATABASE_URL").is_some() {
        "the server that TEST_DATABASE_URL names".to_owned()
    } else if let Some(folder) = programs::postgres_programs() {
        format!("a temporary server with the programs in {}", folder.display())
    } else {
        return;
    };
    println!("cargo::rustc-cfg=postgres");
    println!("cargo::rustc-env=POSTGRES_SERVER={server}");
}
