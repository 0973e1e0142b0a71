//! Runs the program as a process.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A process that is stopped when it is dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the demo with a command that ends in `demo --json`. Returns the process and the JSON that the demo printed
/// when it began to listen.
pub fn demo(command: &mut Command) -> (Running, Value) {
    let command = command.env_remove("DATABASE_URL").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("its output is piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    (Running(child), line.parse().expect("one JSON object"))
}
