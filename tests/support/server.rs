//! The program under test: a `tollgate serve` process, and other commands.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

use super::{client::Client, eventually, excerpt, folder::signal, programs::free_port, report};

/// How long the first start may take, including migrations.
const FIRST_START_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Launch {
    pub folder: PathBuf,
    pub url: String,
    pub connections: u32,
}

pub struct Server {
    launch: Launch,
    pub address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts a server on a free port, and waits until it is ready.
    pub async fn start(launch: Launch) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = spawn(&launch, address);
        let mut server = Self { launch, address, child };
        // Another process may have taken the port in the meantime.
        eventually(FIRST_START_DEADLINE, "the server starts", async || {
            if server.child.try_wait().expect("our child").is_some()
                && server.log().contains("cannot listen on")
            {
                server.address.set_port(free_port());
                server.child = spawn(&server.launch, server.address);
            }
            server.is_ready().await
        })
        .await;
        server
    }

    /// Kills the server with `kill -9`, and waits until it has ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Starts the server again at the same address, and does not wait until it is ready.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.launch, self.address);
    }

    pub fn terminate(&self) {
        signal("TERM", &[self.child.id()]);
    }

    /// Returns the exit status of the process if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Returns the id of the process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Returns the status of `/readyz`, or `None` if there is no response.
    pub async fn readiness(&self) -> Option<u16> {
        Client::new(self.address).get("/readyz").await.ok().map(|answer| answer.status)
    }

    pub async fn is_ready(&self) -> bool {
        self.readiness().await == Some(200)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.launch.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            report(&format!("the server's log:\n{}", excerpt(&self.log())));
        }
    }
}

fn spawn(launch: &Launch, address: SocketAddr) -> Child {
    let log = File::options().create(true).append(true).open(launch.folder.join("log"));
    program(&launch.folder, &launch.url)
        .args(["serve", "--sandbox", "--migrate", "--log", "warn", "--listen"])
        .arg(address.to_string())
        .arg("--database-connections")
        .arg(launch.connections.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("the log opens"))
        .spawn()
        .expect("the program starts")
}

/// Runs a command, and waits until the command ends.
pub fn run(folder: &Path, url: &str, arguments: &[&str]) -> Output {
    program(folder, url).args(arguments).output().expect("the program starts")
}

/// Returns the JSON output of a command, which must have succeeded.
#[track_caller]
pub fn json_of(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).parse().expect("one JSON object")
}

/// Creates a team with a balance that is large enough for every test. Returns the key of the main account.
pub fn create_team(folder: &Path, url: &str, name: &str) -> String {
    let create = ["team", "create", "--name", name, "--top-up", "100000000", "--json"];
    let made = json_of(&run(folder, url, &create));
    made["plainKey"].as_str().expect("a key").to_owned()
}

/// Runs the reconciliation, which must find no drift.
pub fn audit(folder: &Path, url: &str) {
    let audit = run(folder, url, &["audit", "--json"]);
    let stdout = String::from_utf8_lossy(&audit.stdout);
    assert_eq!(audit.status.code(), Some(0), "{stdout}{}", String::from_utf8_lossy(&audit.stderr));
    assert_eq!(json_of(&audit)["clean"], true);
}

/// Returns a command that runs the program without the environment of the tests.
fn program(folder: &Path, url: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    program.current_dir(folder).env_clear().env("DATABASE_URL", url);
    program
}
