//! Finds PostgreSQL's programs and a user that may run them. Shared by all test targets.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// The folder of Debian's PostgreSQL packages, with a subfolder per version.
pub const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";

/// Returns the folder with the programs of the newest installed PostgreSQL.
pub fn postgres_programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let installed = std::fs::read_dir(DEBIAN_FOLDER).into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = installed.map(|entry| entry.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}

/// Returns the user that runs PostgreSQL if the suite runs as root. PostgreSQL itself refuses to run as root.
pub fn unprivileged_user() -> &'static str {
    let has = |user: &str| {
        Command::new("id")
            .arg(user)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if has("postgres") { "postgres" } else { "nobody" }
}
