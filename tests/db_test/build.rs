//! Looks for a PostgreSQL server for the tests, since a test is marked as ignored when it is compiled.

#[path = "../support/programs.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod programs;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TEST_DATABASE_URL");
    // A folder that is missing would make every build run this again.
    if std::path::Path::new(programs::DEBIAN_FOLDER).exists() {
        println!("cargo::rerun-if-changed={}", programs::DEBIAN_FOLDER);
    }
    println!("cargo::rustc-check-cfg=cfg(postgres)");
    let server = if std::env::var_os("TEST_DATABASE_URL").is_some() {
        "the server that TEST_DATABASE_URL names".to_owned()
    } else if let Some(folder) = programs::postgres_programs() {
        format!("a throw-away server by the programs in {}", folder.display())
    } else {
        return;
    };
    println!("cargo::rustc-cfg=postgres");
    println!("cargo::rustc-env=POSTGRES_SERVER={server}");
}
