//! The files of an SQLite database are private, whatever the umask is. The server does not change any other file.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Output, Stdio},
};

use tollgate::db::sqlite_url;

use crate::harness::{Running, demo};

/// Returns a command that starts the program with this umask.
fn under_umask(umask: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask $0; exec \"$@\"", umask, env!("CARGO_BIN_EXE_tollgate")]);
    command.args(arguments).env_remove("DATABASE_URL").env_remove("DATABASE_URL_FILE");
    command
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file").permissions().mode() & 0o7777
}

/// Returns the names and modes of the files in a folder.
fn modes(folder: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let named = |entry: fs::DirEntry| {
        (entry.file_name().into_string().expect("a name"), mode(&entry.path()))
    };
    let mut modes: Vec<_> = entries.map(named).collect();
    modes.sort();
    modes
}

const DEMO: [&str; 4] = ["demo", "--json", "--listen", "127.0.0.1:0"];

#[test]
fn database_files_are_private_whatever_the_umask() {
    for umask in ["022", "000", "077"] {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("new/data");
        let arguments = [&DEMO[..], &["--data", data.to_str().expect("a path")]].concat();
        let (_running, _) = demo(&mut under_umask(umask, &arguments));

        assert_eq!((mode(&folder.path().join("new")), mode(&data)), (0o700, 0o700), "{umask}");
        let names = ["tollgate.db", "tollgate.db-shm", "tollgate.db-wal", "tollgate.db.lock"];
        assert_eq!(modes(&data), names.map(|name| (name.to_owned(), 0o600)), "{umask}");
    }
}

#[test]
fn the_folder_of_the_demo_is_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = under_umask("022", &DEMO);
    let (_running, _) = demo(command.env("TMPDIR", folder.path()));

    let [(name, mode)] = &modes(folder.path())[..] else { panic!("one folder") };
    assert!(name.starts_with("tollgate-demo-"), "{name}");
    assert_eq!(*mode, 0o700);
    let of_data = modes(&folder.path().join(name));
    assert!(!of_data.is_empty() && of_data.iter().all(|(_, mode)| *mode == 0o600), "{of_data:?}");
}

fn serve(url: &str) -> Output {
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off"];
    let mut command = under_umask("022", &arguments);
    command.env("DATABASE_URL", url).output().expect("the program starts")
}

/// If the lock file is a symbolic link, the server neither follows the link nor empties the file to which the link
/// leads.
#[test]
fn a_lock_file_that_is_a_link_or_not_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let precious = folder.path().join("precious");
    fs::write(&precious, "dear data").expect("a file");
    let missing = folder.path().join("missing");
    let database = folder.path().join("tollgate.db");
    let lock = folder.path().join("tollgate.db.lock");

    let plant: [&dyn Fn(); 3] = [
        &|| symlink(&precious, &lock).expect("a link"),
        &|| symlink(&missing, &lock).expect("a link"),
        &|| fs::create_dir(&lock).expect("a folder"),
    ];
    for (at, plant) in plant.iter().enumerate() {
        plant();
        let refused = serve(&sqlite_url(&database));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("tollgate.db.lock"), "{said}");
        assert!(at == 2 || said.contains("is a symbolic link"), "{said}");
        assert_eq!(fs::read_to_string(&precious).expect("the file"), "dear data");
        assert!(!missing.exists() && !database.exists());
        let _ = fs::remove_file(&lock).or_else(|_| fs::remove_dir(&lock));
    }
}

/// The server does not change the content of an existing lock file.
#[test]
fn a_database_that_others_can_read_is_served_with_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a path");
    let (database, lock) =
        (folder.path().join("tollgate.db"), folder.path().join("tollgate.db.lock"));
    let start = || {
        let log = folder.path().join("log");
        let arguments = [&DEMO[..], &["--data", data]].concat();
        let mut command = under_umask("022", &arguments);
        command.stdout(Stdio::piped()).stderr(File::create(&log).expect("a file"));
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        drop(Running(child));
        fs::read_to_string(log).expect("a log")
    };

    let said = start();
    assert!(!said.contains("chmod"), "{said}");
    fs::write(&lock, "what it holds").expect("the lock");
    for exposed in [0o644, 0o640, 0o602] {
        fs::set_permissions(&database, fs::Permissions::from_mode(exposed)).expect("a mode");
        let said = start();
        assert!(said.contains(&format!("Run: chmod 600 {}", database.display())), "{said}");
    }
    assert_eq!(fs::read_to_string(&lock).expect("the lock"), "what it holds");
}
