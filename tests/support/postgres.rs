//! A PostgreSQL server for one test, with PostgreSQL's default durability. The server can be killed and started again
//! with the same data.

use std::{
    fs::File,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbErr};

use super::{
    eventually, excerpt,
    folder::{processes_in, signal},
    programs::{free_port, is_root, postgres_programs, unprivileged_user},
    report,
};

/// How long a start may take, including recovery and attempts that fail because the old server is still running.
const START_DEADLINE: Duration = Duration::from_mins(1);

/// Settings for a server. None of the settings changes durability.
#[derive(Clone, Copy)]
pub struct Setup {
    initdb: &'static [&'static str],
    settings: &'static [&'static str],
}

/// The default settings. `--no-sync` affects only the initial files, which are not synchronized to the disk.
pub const DEFAULT: Setup = Setup { initdb: &["--no-sync"], settings: &[] };
/// Small write-ahead log segments that are created when needed, so that a full disk has an effect soon.
pub const SMALL_SEGMENTS: Setup = Setup {
    initdb: &["--wal-segsize=1"],
    settings: &["min_wal_size=2MB", "max_wal_size=1GB", "wal_recycle=off", "shared_buffers=32MB"],
};

pub struct Postgres {
    programs: PathBuf,
    pub data: PathBuf,
    /// The working directory, which contains the log.
    home: PathBuf,
    port: u16,
    setup: Setup,
    child: Option<Child>,
}

impl Postgres {
    /// Starts a server with the data in `data`. The write-ahead log is in `wal` if `wal` is given.
    pub async fn start(home: &Path, data: PathBuf, wal: Option<&Path>, setup: Setup) -> Self {
        let programs = postgres_programs()
            .expect("initdb and postgres are on the PATH or in /usr/lib/postgresql");
        let home = home.join("postgres");
        std::fs::create_dir(&home).expect("the folder is ours");
        let mut server = Self { programs, data, home, port: free_port(), setup, child: None };
        change_owner(&server.home);
        std::fs::create_dir(&server.data).expect("the folder is ours");
        change_owner(&server.data);
        server.init(wal);
        server.run().await;
        server
    }

    pub fn url(&self) -> String {
        url_at(self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the postmaster and every backend with `kill -9`.
    pub fn kill(&mut self) {
        let postmaster = self.postmaster();
        signal("KILL", &postmaster.into_iter().chain(processes_in(&self.data)).collect::<Vec<_>>());
    }

    /// Kills every backend with `kill -9`, and waits until they have ended. The postmaster restarts them.
    pub async fn kill_backends(&self) {
        let postmaster = self.postmaster();
        let backends: Vec<u32> =
            processes_in(&self.data).into_iter().filter(|id| Some(*id) != postmaster).collect();
        signal("KILL", &backends);
        eventually(START_DEADLINE, "killed backends end", async || {
            let left = processes_in(&self.data);
            !backends.iter().any(|id| left.contains(id))
        })
        .await;
    }

    /// Returns whether the server's process is running, even if the server accepts no connections.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Starts the server unless it is running, and waits until the server accepts connections. Retries a start that
    /// fails.
    pub async fn run(&mut self) {
        let deadline = tokio::time::Instant::now() + START_DEADLINE;
        loop {
            if !self.is_running() {
                self.child = Some(self.spawn());
            }
            if self.connect().await.is_ok() {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "PostgreSQL starts:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Opens a connection for the test itself.
    pub async fn connect(&self) -> Result<DatabaseConnection, DbErr> {
        let mut options = ConnectOptions::new(self.url());
        options.max_connections(1).sqlx_logging(false).connect_timeout(Duration::from_secs(1));
        let connection = Database::connect(options).await?;
        connection.execute_unprepared("SELECT 1").await?;
        Ok(connection)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    fn init(&self, wal: Option<&Path>) {
        let mut init = self.command("initdb");
        init.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]);
        init.args(self.setup.initdb);
        init.arg("-D").arg(&self.data);
        if let Some(wal) = wal {
            std::fs::create_dir(wal).expect("the folder is ours");
            change_owner(wal);
            init.arg("--waldir").arg(wal);
        }
        let made = init.output().expect("initdb starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn spawn(&self) -> Child {
        let mut log = File::options();
        let log = log.create(true).append(true).open(self.home.join("log")).expect("the log opens");
        let mut server = self.command("postgres");
        server.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        server.arg("-D").arg(&self.data).arg("-k").arg(&self.home);
        server.args(self.setup.settings.iter().flat_map(|setting| ["-c", setting]));
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        server.spawn().expect("postgres starts")
    }

    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", unprivileged_user(), "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.home);
        command
    }

    fn postmaster(&self) -> Option<u32> {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let id = file.lines().next()?.trim().parse().ok()?;
        // A killed server leaves the file `postmaster.pid` behind, and another process may now have the id in the file.
        processes_in(&self.data).contains(&id).then_some(id)
    }
}

/// Returns the URL of the test's database on a server that listens on this port.
pub fn url_at(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
        if std::thread::panicking() {
            report(&format!("PostgreSQL's log:\n{}", excerpt(&self.log())));
        }
    }
}

/// Changes the owner of a folder to the user that runs PostgreSQL.
fn change_owner(path: &Path) {
    if !is_root() {
        return;
    }
    let id = |flag: &str| -> Option<u32> {
        let id = Command::new("id").args([flag, unprivileged_user()]).output().ok()?;
        String::from_utf8_lossy(&id.stdout).trim().parse().ok()
    };
    chown(path, id("-u"), id("-g")).expect("root can change the owner");
}
