//! Starts a temporary PostgreSQL server for the whole run, or uses the server in `TEST_DATABASE_URL`. Each test has its
//! own copy of a migrated database.

use std::{
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};
use tokio::sync::{Mutex, OnceCell};
use tollgate::db::{Db, row_security};

use programs::{free_port, is_root, postgres_programs, unprivileged_user};

#[path = "../../support/programs.rs"]
mod programs;

/// The role whose members need a password. The PostgreSQL server that the tests start requires passwords only from
/// members of this role.
pub const PASSWORD_ROLE: &str = "asked_for_passwords";

/// The URL of the server, without a database name.
static SERVER: OnceCell<String> = OnceCell::const_new();
/// Locked while a database is copied. PostgreSQL copies a database only if no other connection uses the original.
static COPYING: Mutex<()> = Mutex::const_new(());
/// The shell that runs the server. The shell's input ends when this process ends, and the shell then stops the server.
static SHELL: OnceLock<Child> = OnceLock::new();
static COPIES: AtomicUsize = AtomicUsize::new(0);

/// Creates a migrated, empty database and returns its URL.
pub async fn new_database() -> String {
    let server = SERVER.get_or_init(start).await;
    let _alone = COPYING.lock().await;
    let name = format!("{}_{}", prefix(), COPIES.fetch_add(1, Ordering::Relaxed));
    let admin = admin(server).await;
    run(&admin, &format!("CREATE DATABASE {name} TEMPLATE {}", prefix())).await;
    admin.close().await.expect("the connection closes");
    url(server, &name)
}

/// Returns the prefix for the names of this run's databases. Each run has another prefix, so several runs can use one
/// server.
fn prefix() -> String {
    format!("tollgate_test_{}", std::process::id())
}

async fn start() -> String {
    let (server, is_own) = match std::env::var("TEST_DATABASE_URL") {
        Ok(url) => (url, false),
        Err(_) => (start_own(), true),
    };
    wait_until_ready(&server).await;
    let admin = admin(&server).await;
    run(&admin, &format!("CREATE DATABASE {}", prefix())).await;
    if is_own {
        run(&admin, &format!("CREATE ROLE {PASSWORD_ROLE}")).await;
    }
    admin.close().await.expect("the connection closes");
    let db = Db::connect(&url(&server, &prefix()), 2).await.expect("the new database opens");
    db.migrate().await.expect("the migrations run");
    row_security::set_up(&db.write).await.expect("row security is set up");
    db.close().await.expect("the connections close");
    server
}

async fn wait_until_ready(server: &str) {
    for _ in 0..600 {
        let mut options = ConnectOptions::new(url(server, "postgres"));
        options.max_connections(1).sqlx_logging(false).connect_timeout(Duration::from_secs(1));
        if let Ok(connection) = Database::connect(options).await {
            connection.close().await.expect("the connection closes");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the PostgreSQL server does not start");
}

async fn admin(server: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url(server, "postgres"));
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.expect("the PostgreSQL server answers")
}

async fn run(admin: &DatabaseConnection, sql: &str) {
    admin.execute_unprepared(sql).await.expect("the statement runs");
}

/// Returns the server's URL with another database name.
fn url(server: &str, database: &str) -> String {
    let (address, query) = server.split_once('?').unwrap_or((server, ""));
    let authority = address.find("://").map_or(0, |at| at + 3);
    let end = address[authority..].find('/').map_or(address.len(), |at| authority + at);
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("{}/{database}{query}", &address[..end])
}

fn start_own() -> String {
    let programs = postgres_programs()
        .expect("TEST_DATABASE_URL is set, or initdb and postgres are on the PATH or in /usr/lib/postgresql");
    let port = free_port();
    let script = format!(
        "folder=$(mktemp -d) && cd $folder \
         && {initdb} -D data -U postgres -A trust -E UTF8 --locale=C >log 2>&1 \
         && echo 'host all +{PASSWORD_ROLE} all scram-sha-256' | cat - data/pg_hba.conf >hba && cat hba >data/pg_hba.conf \
         && {{ {postgres} -D data -h 127.0.0.1 -p {port} -k $folder -c fsync=off \
               -c synchronous_commit=off -c full_page_writes=off -c max_connections=300 \
               >>log 2>&1 & }} \
         && server=$! && cat >/dev/null; kill -QUIT $server; wait $server; rm -rf $folder",
        initdb = programs.join("initdb").display(),
        postgres = programs.join("postgres").display(),
    );
    // The shell's input ends when this process ends, even after a crash. The shell then stops the server.
    let mut shell = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", unprivileged_user(), "--", "sh", "-c", &script]);
        command
    } else {
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        command
    };
    let child = shell.stdin(Stdio::piped()).spawn().expect("a shell starts");
    SHELL.set(child).expect("one server is started");
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}
