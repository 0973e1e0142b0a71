//! The files of an `SQLite` database: for their owner alone, and served by one process.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr as _,
};

use rustix::{fs::OFlags, io::Errno};
use sea_orm::sqlx::sqlite::SqliteConnectOptions;

/// Its owner reads and writes it, and nobody else.
const PRIVATE: u32 = 0o600;
/// What others may do with a file that is not private: read it or write it.
const OF_OTHERS: u32 = 0o066;
/// What `SQLite` adds to the name of a database for its other files.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Why the file of an `SQLite` database cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServingLockError {
    #[error(
        "{} is served by another process already: one serving process a file. \
         Stop that one, or use PostgreSQL for several", .0.display()
    )]
    Taken(PathBuf),
    #[error("{}.lock is a symbolic link or not a regular file (expected a file that this server makes); remove it and start again", .0.display())]
    NoFile(PathBuf),
    #[error("{}.lock cannot be made or locked: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Takes the lock of the one serving process of an `SQLite` file; other databases need none. The lock
/// lasts as long as the returned file is open, also through a crash.
pub fn lock_for_serving(url: &str) -> Result<Option<File>, ServingLockError> {
    let Some(path) = sqlite_path(url) else {
        return Ok(None);
    };
    let fault = |error| ServingLockError::Io { path: path.clone(), error };
    // Whatever the file is called by, there is one lock; it may not exist yet, its folder must.
    let path = if path.exists() {
        path.canonicalize().map_err(fault)?
    } else {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().map_err(fault)?;
        folder.join(path.file_name().unwrap_or_default())
    };
    let fault = |error| ServingLockError::Io { path: path.clone(), error };
    // In a folder that others write to, the name may be a link to somebody's file: it is not followed, and what is
    // opened keeps what it holds.
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
        Ok(_) => return Err(ServingLockError::NoFile(path)),
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(ServingLockError::NoFile(path));
        }
        Err(error) => return Err(fault(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(ServingLockError::Taken(path)),
        Err(std::fs::TryLockError::Error(error)) => Err(fault(error)),
    }
}

/// Makes the file of an `SQLite` URL that says `mode=rwc`, unless it is there: private whatever the umask is. The
/// files that `SQLite` makes beside it have the same mode. What fails here fails again when `SQLite` opens the file,
/// which then says why.
pub(super) fn make_private(url: &str) {
    let (_, parameters) = url.split_once('?').unwrap_or_default();
    let makes = form_urlencoded::parse(parameters.as_bytes())
        .any(|(name, value)| name == "mode" && value == "rwc");
    if let (true, Some(path)) = (makes, sqlite_path(url)) {
        let mut options = OpenOptions::new();
        let _ = options.write(true).create(true).truncate(false).mode(PRIVATE).open(path);
    }
}

/// Those files of an `SQLite` database that other users of the machine may read or write.
pub fn exposed(url: &str) -> Vec<PathBuf> {
    let Some(path) = sqlite_path(url) else { return Vec::new() };
    let files = SUFFIXES.iter().map(|suffix| with_suffix(&path, suffix));
    let is_exposed = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.permissions().mode() & OF_OTHERS != 0)
    };
    files.filter(is_exposed).collect()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The URL of an `SQLite` file that is made if it does not exist.
pub fn sqlite_url(path: &Path) -> String {
    let path = path.display().to_string();
    let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite://{path}?mode=rwc")
}

/// The file behind an `SQLite` URL, as the driver reads it; `None` for one in memory, which would be another for each
/// connection.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    if !url.starts_with("sqlite:") || url.contains(":memory:") || url.contains("mode=memory") {
        return None;
    }
    let options = SqliteConnectOptions::from_str(url).ok()?;
    let path = options.get_filename();
    (!path.as_os_str().is_empty()).then(|| path.to_owned())
}
