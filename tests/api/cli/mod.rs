//! The command line: its commands, what they print, and their exit codes.

mod connection;
mod csv_files;
mod database;
mod import;
mod report;
mod startup;
mod team;

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::harness::{self, Running};

pub fn tollgate(url: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(arguments)
        .env("DATABASE_URL", url)
        .env_remove("DATABASE_URL_FILE")
        .output()
        .expect("the program starts")
}

/// Returns the standard output of a command, which must have succeeded.
#[track_caller]
pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Returns the exit code and standard error of a command, which must have failed.
#[track_caller]
pub fn failure(output: &Output) -> (Option<i32>, String) {
    assert!(!output.status.success());
    assert_eq!(output.stdout, b"");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn demo(folder: &Path) -> (Running, Value) {
    let arguments = ["demo", "--json", "--listen", "127.0.0.1:0", "--data"];
    harness::demo(Command::new(env!("CARGO_BIN_EXE_tollgate")).args(arguments).arg(folder))
}
