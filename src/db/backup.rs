//! Backs up an `SQLite` database while it is in use.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use sea_orm::{
    DbErr,
    sqlx::{self, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions},
};

use super::{
    error::{connection_error, query_error},
    options::sqlite_options,
};

/// The reason why no backup was made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("only SQLite databases are copied by this command; use pg_dump for PostgreSQL")]
    NotSqlite,
    #[error("{} exists; a backup never overwrites a file", .0.display())]
    Exists(PathBuf),
    #[error("the folder {} does not exist; create it first", .0.display())]
    NoFolder(PathBuf),
    #[error("{} is not valid (expected a name in UTF-8)", .0.display())]
    NotUnicode(PathBuf),
    #[error("{} cannot be written: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the database cannot be copied: {0}")]
    Database(#[from] DbErr),
}

/// Writes a consistent copy of the `SQLite` database to a new file that only the file's owner can read. If copying
/// fails, no file is left behind.
pub(super) async fn back_up(url: &str, path: &Path) -> Result<(), BackupError> {
    let io_error = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(path.to_owned()),
        _ => BackupError::Io { path: path.to_owned(), error },
    };
    if path.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(path.to_owned()));
    }
    // The path is made absolute because SQLite could read a relative name as a URL or as a database in memory.
    let absolute = std::path::absolute(path).map_err(io_error)?;
    let folder = absolute.parent().ok_or_else(|| BackupError::Exists(path.to_owned()))?;
    if !folder.is_dir() {
        return Err(BackupError::NoFolder(folder.to_owned()));
    }
    // The temporary file is private. It is removed unless it is renamed at the end.
    let mut partial = tempfile::Builder::new();
    partial.prefix("tollgate-backup-").suffix(".partial");
    let partial = partial.tempfile_in(folder).map_err(io_error)?;
    let partial_path = partial.path().to_str();
    let partial_path = partial_path.ok_or_else(|| BackupError::NotUnicode(path.to_owned()))?;
    copy(url, partial_path).await?;
    partial.as_file().sync_all().map_err(io_error)?;
    partial.persist_noclobber(&absolute).map_err(|refused| io_error(refused.error))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error)
}

async fn copy(url: &str, path: &str) -> Result<(), DbErr> {
    let options = SqliteConnectOptions::from_str(url).map_err(connection_error)?;
    let options = sqlite_options(options).create_if_missing(false).disable_statement_logging();
    let mut connection = options.connect().await.map_err(query_error)?;
    let copied = sqlx::query("VACUUM INTO ?").bind(path);
    let copied = copied.execute(&mut connection).await.map_err(query_error);
    connection.close().await.map_err(query_error)?;
    copied.map(|_| ())
}
