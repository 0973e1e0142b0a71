//! The files of an `SQLite` database. They are private to their owner, and only one process at a time serves them.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr as _,
};

use rustix::{fs::OFlags, io::Errno};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;

/// The mode of new files, which only the owner may read and write.
const PRIVATE: u32 = 0o600;
/// The mode bits that let the group or others read or write.
const OTHERS: u32 = 0o066;
/// The suffixes of the database file, the write-ahead log and the shared memory file.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// The reason why an `SQLite` file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServingLockError {
    #[error(
        "{} is already served by another process, and only one process may serve a file. \
         Stop that process, or use PostgreSQL to run several", .0.display()
    )]
    Taken(PathBuf),
    #[error("{}.lock is a symbolic link or not a regular file (expected a file that this server created); remove it and start again", .0.display())]
    NotRegular(PathBuf),
    #[error("{}.lock cannot be created or locked: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Takes the lock that only the process that serves an `SQLite` file may have. Other databases need no lock. The lock
/// is released when the returned file is closed or the process crashes.
pub fn lock_for_serving(url: &str) -> Result<Option<File>, ServingLockError> {
    let Some(path) = sqlite_path(url) else {
        return Ok(None);
    };
    let fault = |error| ServingLockError::Io { path: path.clone(), error };
    // The path is made canonical, so that different paths to the file use the same lock. The file may not exist yet.
    let path = if path.exists() {
        path.canonicalize().map_err(fault)?
    } else {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().map_err(fault)?;
        folder.join(path.file_name().unwrap_or_default())
    };
    let fault = |error| ServingLockError::Io { path: path.clone(), error };
    // In a folder that others can write to, the lock file may be a link to another user's file. The link is therefore
    // not followed, and the file is not truncated.
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(with_suffix(&path, ".lock"));
    let file = match opened {
        Ok(file) if file.metadata().map_err(fault)?.is_file() => file,
        Ok(_) => return Err(ServingLockError::NotRegular(path)),
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(ServingLockError::NotRegular(path));
        }
        Err(error) => return Err(fault(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(ServingLockError::Taken(path)),
        Err(std::fs::TryLockError::Error(error)) => Err(fault(error)),
    }
}

/// Creates the file of an `SQLite` URL with `mode=rwc` if the file does not exist. The file is private regardless of
/// the umask, and `SQLite` gives its other files the same mode. An error is ignored, because `SQLite` reports it when
/// it opens the file.
pub(super) fn create_private(url: &str) {
    let (_, parameters) = url.split_once('?').unwrap_or_default();
    let creates = form_urlencoded::parse(parameters.as_bytes())
        .any(|(name, value)| name == "mode" && value == "rwc");
    if let (true, Some(path)) = (creates, sqlite_path(url)) {
        let mut options = OpenOptions::new();
        let _ = options.write(true).create(true).truncate(false).mode(PRIVATE).open(path);
    }
}

/// Returns the files of an `SQLite` database that other users of the machine may read or write.
pub fn exposed(url: &str) -> Vec<PathBuf> {
    let Some(path) = sqlite_path(url) else { return Vec::new() };
    let files = SUFFIXES.iter().map(|suffix| with_suffix(&path, suffix));
    let is_exposed = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0)
    };
    files.filter(is_exposed).collect()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns the URL of an `SQLite` file. The file is created if it does not exist.
pub fn sqlite_url(path: &Path) -> String {
    let path = path.display().to_string();
    let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite://{path}?mode=rwc")
}

/// Returns the file of an `SQLite` URL, as the driver parses the URL. Returns `None` for other URLs and for a database
/// in memory. A database in memory is not supported, because each connection would have its own.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
        return None;
    }
    let options = SqliteConnectOptions::from_str(url).ok()?;
    let path = options.get_filename();
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}
