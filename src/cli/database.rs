//! The database that a command uses: its URL, the checks before it is opened, and its migration.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::Args;
use sea_orm::DbBackend;

use crate::{
    app::App,
    carrier::Carriers,
    clock::SystemClock,
    db::{self, Db, RowSecurity, reach, row_security},
    domain::Fault,
};

const DEFAULT_DATABASE: &str = "sqlite://tollgate.db?mode=rwc";
const HOW_TO_FIND_IT: &str = "run this command in the server's folder, or set --database-url";
pub(super) const NOT_CURRENT: &str =
    "the database's schema is not current; run `tollgate migrate` with the same database URL first";
/// Log target of the event that shows which database is used. The option `--verbose` enables it.
pub const DATABASE_LOG_TARGET: &str = "tollgate::database";

#[derive(Args, Clone)]
pub struct DatabaseArgs {
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        help = "The database URL: sqlite://FILE?mode=rwc or postgres://USER:PASSWORD@HOST/NAME \
                [default: sqlite://tollgate.db?mode=rwc]"
    )]
    pub(super) database_url: Option<String>,
    /// A file that contains the database URL, for example a mounted secret.
    #[arg(long, env = "DATABASE_URL_FILE", conflicts_with = "database_url")]
    pub(super) database_url_file: Option<PathBuf>,
    /// PostgreSQL: number of connections of this process for reads, and the same number for writes.
    #[arg(
        long,
        env = "TOLLGATE_DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub(super) database_connections: u32,
}

impl DatabaseArgs {
    pub(super) fn url(&self) -> anyhow::Result<String> {
        let Some(path) = &self.database_url_file else {
            return Ok(self.database_url.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned()));
        };
        let url = std::fs::read_to_string(path);
        let url = url.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(url.trim().to_owned())
    }

    /// Opens the database. A missing `SQLite` file is created.
    pub(super) async fn connect(&self) -> anyhow::Result<Db> {
        connect(&self.url()?, self.database_connections).await
    }

    /// Opens the database, which must exist.
    pub(super) async fn connect_existing(&self) -> anyhow::Result<Db> {
        let url = self.url()?;
        if let Some(file) = db::sqlite_path(&url).filter(|file| !file.exists()) {
            bail!("no database was found at {}; {HOW_TO_FIND_IT}", full_path(&file).display());
        }
        let db = connect_to(&url, self.database_connections, false).await?;
        if db.is_empty().await? {
            bail!(
                "{} has no Tollgate tables; run `tollgate migrate` with the same database URL first",
                display_name(&url)
            );
        }
        Ok(db)
    }

    /// Returns the app for a command whose database must exist. `SQLite` is migrated if necessary. On PostgreSQL, the
    /// schema must be current.
    pub(super) async fn app(&self) -> anyhow::Result<Arc<App>> {
        app_of(self.connect_existing().await?).await
    }

    /// Returns the app like [`Self::app`], for a command that may create the database.
    pub(super) async fn new_app(&self) -> anyhow::Result<Arc<App>> {
        app_of(self.connect().await?).await
    }

    /// Returns the arguments with which a suggested command uses the same database. They are empty for the default
    /// database. PostgreSQL URLs may contain a password and are not printed.
    pub(super) fn as_arguments(&self) -> String {
        match (&self.database_url, &self.database_url_file) {
            (Some(url), _) if url.starts_with("sqlite:") => format!(" --database-url '{url}'"),
            (Some(_), _) => " --database-url …".to_owned(),
            (None, Some(file)) => format!(" --database-url-file '{}'", file.display()),
            (None, None) => String::new(),
        }
    }
}

/// Adds advice to an error if the database login lacks a privilege.
pub(super) fn explain_missing_right(error: anyhow::Error) -> anyhow::Error {
    // Only the outermost error is checked, because commands add their own advice as context.
    let first = error.chain().next();
    let of_database = match first.and_then(|error| error.downcast_ref()) {
        Some(Fault::Database(error)) => Some(error),
        _ => first.and_then(|error| error.downcast_ref()),
    };
    match of_database.and_then(reach::missing_right) {
        Some(denied) => anyhow::anyhow!(
            "PostgreSQL refused it: {denied}. Make the user of the database URL the owner of the database, or \
             grant it the missing privilege"
        ),
        None => error,
    }
}

/// Rejects an `SQLite` file that belongs to another program, so that such a file is never migrated. Also rejects a file
/// without tables, unless `may_be_empty` is true. This check runs before the file is opened for use, because opening
/// the file would modify it.
async fn check_tables(url: &str, may_be_empty: bool) -> anyhow::Result<()> {
    let Some(file) = db::sqlite_path(url).filter(|file| file.exists()) else { return Ok(()) };
    let file = full_path(&file);
    let tables = db::tables_of_sqlite(url)
        .await
        .with_context(|| format!("{} cannot be read as an SQLite database", file.display()))?;
    if tables.is_empty() && !may_be_empty {
        bail!("{} is not a Tollgate database; {HOW_TO_FIND_IT}", file.display());
    }
    if !tables.is_empty() && !tables.iter().any(|table| table == db::MIGRATIONS_TABLE) {
        bail!("{} belongs to another program; {HOW_TO_FIND_IT}", file.display());
    }
    Ok(())
}

/// Applies all pending migrations.
pub(super) async fn migrate(db: &Db) -> anyhow::Result<()> {
    db.migrate().await.map_err(|error| match reach::missing_right(&error) {
        Some(_) => error.into(),
        None => anyhow::Error::new(error).context("the database cannot be migrated"),
    })
}

async fn app_of(db: Db) -> anyhow::Result<Arc<App>> {
    ensure_current(&db, false).await?;
    Ok(App::new(db, Arc::new(SystemClock), Carriers::none()).0)
}

/// Returns the database as messages show it: the full path of a file, or the URL without its password.
pub(super) fn display_name(url: &str) -> String {
    if let Some(file) = db::sqlite_path(url) {
        return full_path(&file).display().to_string();
    }
    reach::shown(url)
}

pub(super) fn full_path(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// Checks that a database can be opened or created at this URL.
pub(super) fn check_url(url: &str) -> anyhow::Result<()> {
    if !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme)) {
        bail!("the database URL must begin with sqlite: or postgres:");
    }
    if url.starts_with("sqlite:") && db::sqlite_path(url).is_none() {
        bail!("the database URL must name a file: sqlite://FILE?mode=rwc");
    }
    let Some(file) = db::sqlite_path(url).filter(|file| !file.exists()) else { return Ok(()) };
    let file = full_path(&file);
    if let Some(folder) = file.parent().filter(|folder| !folder.is_dir()) {
        bail!("the folder {} does not exist; create it first", folder.display());
    }
    if !url.contains("mode=rwc") {
        bail!(
            "no database was found at {}; add ?mode=rwc to the URL to create one",
            file.display()
        );
    }
    Ok(())
}

/// Opens a database. A missing `SQLite` file is created if the URL has `mode=rwc`.
pub(super) async fn connect(url: &str, connections: u32) -> anyhow::Result<Db> {
    connect_to(url, connections, true).await
}

async fn connect_to(url: &str, connections: u32, may_be_empty: bool) -> anyhow::Result<Db> {
    check_url(url)?;
    check_tables(url, may_be_empty).await?;
    tracing::debug!(target: DATABASE_LOG_TARGET, "The database is {}", display_name(url));
    open(url, connections, RowSecurity::Off).await
}

pub(super) async fn open(
    url: &str,
    connections: u32,
    row_security: RowSecurity,
) -> anyhow::Result<Db> {
    if !url.starts_with("sqlite:") {
        reach::check(url).await.map_err(anyhow::Error::msg)?;
    }
    let opened = Db::connect_with(url, connections, row_security).await;
    let db = opened.map_err(|error| {
        // The error for a malformed URL contains the URL, which may contain the password.
        let error = error.to_string().replace(url, "(the URL)");
        anyhow::anyhow!("the database {} cannot be opened: {error}", display_name(url))
    })?;
    if db.backend() == DbBackend::Postgres && row_security::hides_everything(&db.read).await? {
        bail!(
            "row security hides every row from this login; as a database administrator, run: \
             GRANT tollgate_system, tollgate_server TO <login>"
        );
    }
    Ok(db)
}

/// Refuses a schema that is not current. `SQLite` is migrated automatically, PostgreSQL only if `may_migrate`.
pub(super) async fn ensure_current(db: &Db, may_migrate: bool) -> anyhow::Result<()> {
    if db.is_current().await? {
        return Ok(());
    }
    if db.backend() == DbBackend::Sqlite || may_migrate {
        return migrate(db).await;
    }
    bail!(NOT_CURRENT);
}
