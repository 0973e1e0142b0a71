//! Which database a command uses, and backups.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use db_test::db_test;
use sea_orm::ConnectionTrait as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{failure, stdout, tollgate};
use crate::harness::{Database, Postgres, TestApp};

fn command_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).current_dir(folder);
    command.env_remove("DATABASE_URL").env_remove("DATABASE_URL_FILE");
    command
}

/// Runs a command in a folder without any settings.
fn run_in(folder: &Path, arguments: &[&str]) -> Output {
    command_in(folder, arguments).output().expect("the program starts")
}

fn run_in_with(folder: &Path, url: &str, arguments: &[&str]) -> Output {
    command_in(folder, arguments).env("DATABASE_URL", url).output().expect("the program starts")
}

const NOBODY: &str = "019a0000-0000-7000-8000-000000000000";

#[test]
fn commands_that_need_an_existing_database_do_not_create_one() {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, text) in [
        ("a.csv", "email\na@b.io\n"),
        ("prices.csv", "channel,prefix,country,price_cents\nSMS,1,US,2\n"),
        (
            "numbers.csv",
            "number,country,type,capabilities,upfront_cents,monthly_cents\n\
             +12025550101,US,LOCAL,SMS,1,1\n",
        ),
    ] {
        std::fs::write(folder.path().join(file), text).expect("the file is written");
    }
    let commands: [&[&str]; 14] = [
        &["team", "list"],
        &["team", "top-up", NOBODY, "--amount", "1"],
        &["key", "create", "--operator"],
        &["key", "list", "--operator"],
        &["key", "revoke", NOBODY],
        &["price", "list"],
        &["price", "import", "prices.csv"],
        &["number", "list"],
        &["number", "import", "numbers.csv"],
        &["contact", "import", "--account", NOBODY, "a.csv"],
        &["contact", "export", "--account", NOBODY],
        &["usage", "export", "--from", "2026-11-01", "--to", "2026-11-30"],
        &["backup", "copy.db"],
        &["reconcile"],
    ];
    let path = folder.path().canonicalize().expect("it exists").join("tollgate.db");
    for arguments in commands {
        let (code, error) = failure(&run_in(folder.path(), arguments));
        let said = format!("no database was found at {}; run this command in the", path.display());
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(&said), "{arguments:?}: {error}");
        assert!(!path.exists(), "{arguments:?} made a database");
    }

    // The commands do not turn an empty file into a database either.
    std::fs::write(&path, "").expect("the file is written");
    for arguments in commands {
        let (code, error) = failure(&run_in(folder.path(), arguments));
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
        assert!(error.contains("tollgate.db is not a Tollgate database"), "{arguments:?}: {error}");
    }
    stdout(&run_in(folder.path(), &["migrate"]));
    let (code, error) = failure(&run_in(folder.path(), &["reconcile"]));
    assert!(code == Some(2) && error.contains("has no teams"), "{error}");
    let listed = stdout(&run_in(folder.path(), &["team", "list"]));
    assert_eq!(listed, "No team exists yet. Create one: tollgate team create --name \"My team\"\n");
    let elsewhere = ["team", "list", "--database-url", "sqlite://tollgate.db"];
    let listed = stdout(&run_in(folder.path(), &elsewhere));
    assert!(listed.ends_with("\"My team\" --database-url 'sqlite://tollgate.db'\n"), "{listed}");
    let verbose = run_in(folder.path(), &["team", "list", "--verbose"]);
    let log = String::from_utf8_lossy(&verbose.stderr);
    assert!(log.contains(&format!("The database is {}", path.display())), "{log}");
    assert_eq!(run_in(folder.path(), &["team", "list"]).stderr, b"");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("other.db");
    let url = tollgate::db::sqlite_url(&file);
    let other = sea_orm::Database::connect(url.as_str()).await.expect("it is made");
    other.execute_unprepared("CREATE TABLE x (id INTEGER)").await.expect("a table");
    other.close().await.expect("the connection closes");
    let before = std::fs::read(&file).expect("the file");
    for command in [
        &["serve", "--sandbox", "--listen", "127.0.0.1:0", "--metrics-listen", "off"][..],
        &["team", "create", "--name", "Acme"],
        &["team", "list"],
        &["migrate"],
    ] {
        let (code, error) = failure(&tollgate(&url, command));
        let said = format!("{} belongs to another program", file.display());
        assert!(code == Some(2) && error.contains(&said), "{command:?}: {error}");
    }
    assert_eq!(std::fs::read(&file).expect("the file"), before);

    let text = folder.path().join("text.db");
    std::fs::write(&text, "not a database\n".repeat(100)).expect("the file is written");
    let (code, error) = failure(&tollgate(&tollgate::db::sqlite_url(&text), &["team", "list"]));
    let said = format!("{} cannot be read as an SQLite database", text.display());
    assert!(code == Some(2) && error.contains(&said), "{error}");
}

#[db_test(postgres)]
async fn a_database_server_that_cannot_be_reached_is_named(t: &TestApp) {
    let (server, name) = t.url.rsplit_once('/').expect("a URL");
    let (_, address) = server.rsplit_once('@').expect("a login");
    let address = address.to_owned();
    let (login, _) = server.split_once(&address).expect("an address");

    let missing = format!("{server}/no_such_database");
    let (code, error) = failure(&tollgate(&missing, &["reconcile"]));
    let said = format!("PostgreSQL at {address} has no database no_such_database; create it");
    assert!(code == Some(2) && error.contains(&said), "{error}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = closed.local_addr().expect("it is bound").port();
    drop(closed);
    let (code, error) =
        failure(&tollgate(&format!("{login}127.0.0.1:{port}/{name}"), &["team", "list"]));
    let said = format!("error: cannot reach PostgreSQL at 127.0.0.1:{port}: connection refused\n");
    assert_eq!((code, error), (Some(2), said));

    let unreadable = "postgres://user:secret@127.0.0.1:99999/x";
    let (code, error) = failure(&tollgate(unreadable, &["team", "list"]));
    assert!(code == Some(2) && error.contains("the database URL cannot be read"), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

/// A backup is readable only by its owner and never overwrites a file.
#[db_test]
async fn a_backup_made_while_messages_are_sent_agrees_with_its_ledger(
    t: &Arc<TestApp>,
    database: Database,
) {
    let team = t.team(1_000_000).await;
    let folder = tempfile::tempdir().expect("a folder");
    let copies: Vec<_> = (0..3).map(|at| folder.path().join(format!("{at}.db"))).collect();
    if matches!(database, Postgres) {
        let path = copies[0].to_str().expect("a path");
        let (code, error) = failure(&tollgate(&t.url, &["backup", path]));
        assert!(code == Some(2) && error.contains("use pg_dump"), "{error}");
        assert!(!copies[0].exists());
        return;
    }

    let stop = CancellationToken::new();
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (t, key, stop) = (Arc::clone(t), team.key.clone(), stop.clone());
            tokio::spawn(async move {
                let mut sent = 0;
                while !stop.is_cancelled() {
                    assert!(t.sends(&key).await);
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    for copy in &copies {
        let (url, path) = (t.url.clone(), copy.to_str().expect("a path").to_owned());
        let made = move || stdout(&tollgate(&url, &["backup", &path]));
        let made = tokio::task::spawn_blocking(made).await.expect("it is made");
        assert_eq!(made, format!("The database was copied to {}.\n", copy.display()));
    }
    stop.cancel();
    let mut sent = 0;
    for sender in senders {
        sent += sender.await.expect("it ends");
    }
    assert!(sent > 0);

    for copy in &copies {
        let url = format!("sqlite://{}", copy.display());
        assert!(stdout(&tollgate(&url, &["reconcile"])).contains("\nClean: "));
        let mode = copy.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let last = copies[2].to_str().expect("a path");
    let before = std::fs::read(last).expect("it is there");
    let (code, error) = failure(&tollgate(&t.url, &["backup", last]));
    assert_eq!(
        (code, error),
        (Some(2), format!("error: {last} exists; a backup never overwrites a file\n"))
    );
    assert_eq!(std::fs::read(last).expect("it is there"), before);
    // These names have a special meaning in SQLite, but the command must use them as file names.
    for name in ["file:x.db", ":memory:", "x.db?mode=memory"] {
        stdout(&run_in_with(folder.path(), &t.url, &["backup", name]));
        let copy = folder.path().join(name);
        let mode = copy.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        assert!(copy.metadata().expect("it is there").len() > 100_000, "{name}");
    }
    let nowhere = folder.path().join("no/copy.db");
    let (code, error) = failure(&tollgate(&t.url, &["backup", nowhere.to_str().expect("a path")]));
    let said = format!("the folder {} does not exist", folder.path().join("no").display());
    assert!(code == Some(2) && error.contains(&said), "{error}");
    let served = t.ask(&team.key, "{ account { name } }").await;
    assert_eq!(*served.data(), json!({ "account": { "name": "Acme" } }));
}
