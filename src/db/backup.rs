//! Copies of an `SQLite` database while it is used.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr as _,
};

use sea_orm::{
    DbBackend, DbErr,
    sqlx::{self, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions},
};

use super::{Db, lease::query_error, sqlite_options, url_error};

/// Why no copy was made.
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

impl Db {
    /// Writes a copy of the database as it is at one moment to a new file, which is private. Others go on reading and
    /// writing meanwhile. Nothing is left of a copy that fails.
    pub async fn back_up(&self, path: &Path) -> Result<(), BackupError> {
        if self.backend() != DbBackend::Sqlite {
            return Err(BackupError::NotSqlite);
        }
        let fault = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(path.to_owned()),
            _ => BackupError::Io { path: path.to_owned(), error },
        };
        if path.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(path.to_owned()));
        }
        // SQLite would take a relative name for a URL or a database in memory. The copy is made under a name of its own,
        // which is private, and removed if this fails.
        let whole = std::path::absolute(path).map_err(fault)?;
        let folder = whole.parent().ok_or_else(|| BackupError::Exists(path.to_owned()))?;
        if !folder.is_dir() {
            return Err(BackupError::NoFolder(folder.to_owned()));
        }
        let mut partial = tempfile::Builder::new();
        partial.prefix("tollgate-backup-").suffix(".partial");
        let partial = partial.tempfile_in(folder).map_err(fault)?;
        let text = partial.path().to_str();
        self.copy_to(text.ok_or_else(|| BackupError::NotUnicode(path.to_owned()))?).await?;
        partial.as_file().sync_all().map_err(fault)?;
        partial.persist_noclobber(&whole).map_err(|refused| fault(refused.error))?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fault)
    }

    async fn copy_to(&self, path: &str) -> Result<(), DbErr> {
        let options = SqliteConnectOptions::from_str(&self.url).map_err(url_error)?;
        let options = sqlite_options(options).create_if_missing(false).disable_statement_logging();
        let mut connection = options.connect().await.map_err(query_error)?;
        let copied = sqlx::query("VACUUM INTO ?").bind(path);
        let copied = copied.execute(&mut connection).await.map_err(query_error);
        connection.close().await.map_err(query_error)?;
        copied.map(|_| ())
    }
}
