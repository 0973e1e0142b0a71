//! The database of a command: how it is named, found, opened and brought up to date.

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
const WHERE_IT_IS: &str = "run this in the server's folder, or give --database-url";
pub(super) const NOT_CURRENT: &str =
    "the database's schema is not current; run `tollgate migrate` with the same database URL first";
/// Where it is logged which database is used, for `--verbose`.
pub const LOG_OF_DATABASE: &str = "tollgate::database";

/// Where the data is.
#[derive(Args, Clone)]
pub struct DatabaseArgs {
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        help = "The database: sqlite://FILE?mode=rwc, or postgres://USER:PASSWORD@HOST/NAME \
                [default: sqlite://tollgate.db?mode=rwc]"
    )]
    pub(super) database_url: Option<String>,
    /// A file that holds the database URL, for secrets, instead of the URL itself.
    #[arg(long, env = "DATABASE_URL_FILE", conflicts_with = "database_url")]
    pub(super) database_url_file: Option<PathBuf>,
    /// PostgreSQL: connections for reading, and as many for changes and delivery, for each process.
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
        let url = url.with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(url.trim().to_owned())
    }

    /// Opens the database; an `SQLite` file is made if there is none.
    pub(super) async fn connect(&self) -> anyhow::Result<Db> {
        connect(&self.url()?, self.database_connections).await
    }

    /// Opens a database that must exist.
    pub(super) async fn connect_existing(&self) -> anyhow::Result<Db> {
        let url = self.url()?;
        if let Some(file) = db::sqlite_path(&url).filter(|file| !file.exists()) {
            bail!("no database was found at {}; {WHERE_IT_IS}", full_path(&file).display());
        }
        let db = connect_to(&url, self.database_connections, false).await?;
        if db.is_empty().await? {
            bail!(
                "{} has no tables of Tollgate; run `tollgate migrate` with the same database URL first",
                shown(&url)
            );
        }
        Ok(db)
    }

    /// The app of a command on a database that must exist, and be current; an `SQLite` one is made so.
    pub(super) async fn app(&self) -> anyhow::Result<Arc<App>> {
        app_of(self.connect_existing().await?).await
    }

    /// The same for a command that may be the first of a database.
    pub(super) async fn new_app(&self) -> anyhow::Result<Arc<App>> {
        app_of(self.connect().await?).await
    }

    /// What a further command needs to use the same database, unless that is the default one. A URL of PostgreSQL may
    /// hold a password, and is not repeated.
    pub(super) fn repeated(&self) -> String {
        match (&self.database_url, &self.database_url_file) {
            (Some(url), _) if url.starts_with("sqlite:") => format!(" --database-url '{url}'"),
            (Some(_), _) => " --database-url …".to_owned(),
            (None, Some(file)) => format!(" --database-url-file '{}'", file.display()),
            (None, None) => String::new(),
        }
    }
}

/// Says what to do if the login of the database URL may not do what a command does.
pub(super) fn explain_missing_right(error: anyhow::Error) -> anyhow::Error {
    // Where a command says itself what to do, that is before it in the chain.
    let first = error.chain().next();
    let of_database = match first.and_then(|error| error.downcast_ref()) {
        Some(Fault::Database(error)) => Some(error),
        _ => first.and_then(|error| error.downcast_ref()),
    };
    match of_database.and_then(reach::missing_right) {
        Some(denied) => anyhow::anyhow!(
            "PostgreSQL refused it: {denied}. Make the user of the database URL the owner of the database, or \
             grant it the right"
        ),
        None => error,
    }
}

/// Refuses an `SQLite` file of another program, which would get the tables of this one, and one without tables unless
/// it may be empty. It is looked at before it is opened for use, which changes it.
async fn check_tables(url: &str, may_be_empty: bool) -> anyhow::Result<()> {
    let Some(file) = db::sqlite_path(url).filter(|file| file.exists()) else { return Ok(()) };
    let file = full_path(&file);
    let tables = db::tables_of_sqlite(url)
        .await
        .with_context(|| format!("{} cannot be read as an SQLite database", file.display()))?;
    if tables.is_empty() && !may_be_empty {
        bail!("{} is not a database of Tollgate; {WHERE_IT_IS}", file.display());
    }
    if !tables.is_empty() && !tables.iter().any(|table| table == db::MIGRATIONS_TABLE) {
        bail!("{} is a database of another program; {WHERE_IT_IS}", file.display());
    }
    Ok(())
}

/// Brings the schema up to date.
pub(super) async fn bring_up_to_date(db: &Db) -> anyhow::Result<()> {
    db.migrate().await.map_err(|error| match reach::missing_right(&error) {
        Some(_) => error.into(),
        None => anyhow::Error::new(error).context("the database cannot be migrated"),
    })
}

async fn app_of(db: Db) -> anyhow::Result<Arc<App>> {
    make_current(&db, false).await?;
    Ok(App::new(db, Arc::new(SystemClock), Carriers::none()).0)
}

/// A database as people may see it: the whole path of a file, or a URL without its password.
pub(super) fn shown(url: &str) -> String {
    if let Some(file) = db::sqlite_path(url) {
        return full_path(&file).display().to_string();
    }
    reach::shown(url)
}

pub(super) fn full_path(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// Refuses a URL under which no database can be opened or made.
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

/// Opens a database; an `SQLite` file is made if there is none and the URL says so.
pub(super) async fn connect(url: &str, connections: u32) -> anyhow::Result<Db> {
    connect_to(url, connections, true).await
}

async fn connect_to(url: &str, connections: u32, may_be_empty: bool) -> anyhow::Result<Db> {
    check_url(url)?;
    check_tables(url, may_be_empty).await?;
    tracing::debug!(target: LOG_OF_DATABASE, "The database is {}", shown(url));
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
        // A URL that cannot be read would be shown whole, with its password.
        let error = error.to_string().replace(url, "(the URL)");
        anyhow::anyhow!("the database {} cannot be opened: {error}", shown(url))
    })?;
    if db.backend() == DbBackend::Postgres && row_security::hides_everything(&db.read).await? {
        bail!(
            "row security hides every row from this login; have somebody who may run: \
             GRANT tollgate_system, tollgate_server TO the login"
        );
    }
    Ok(db)
}

/// Migrates `SQLite` by itself and PostgreSQL only if `may_migrate`.
pub(super) async fn make_current(db: &Db, may_migrate: bool) -> anyhow::Result<()> {
    if db.is_current().await? {
        return Ok(());
    }
    if db.backend() == DbBackend::Sqlite || may_migrate {
        return bring_up_to_date(db).await;
    }
    bail!(NOT_CURRENT);
}
