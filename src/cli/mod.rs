//! The command line: every setting is a flag and an environment variable. Results go to standard
//! output, logs to standard error. Exit codes: 0 done, 1 an audit that found drift, 2 anything else.

use std::{
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use entity::audit_entry::AuditAction;
use sea_orm::DbBackend;
use uuid::Uuid;

use crate::{
    App,
    carrier::Carriers,
    clock::SystemClock,
    db::{self, Db, RowSecurity, reach, row_security},
    domain::{
        Failure, Fault, audit,
        audit_call::{self, Named},
        caller::OperatorCaller,
    },
    graphql,
};

use output::print_line;

mod contact;
pub mod demo;
mod key;
mod number;
mod output;
pub mod panic_log;
mod price;
mod serve;
mod surface;
mod team;
mod usage;

const DEFAULT_DATABASE: &str = "sqlite://tollgate.db?mode=rwc";
const WHERE_IT_IS: &str = "run this in the server's folder, or give --database-url";
/// Where it is logged which database is used, for `--verbose`.
pub const LOG_OF_DATABASE: &str = "tollgate::database";
const TEAM_NOT_FOUND: &str =
    "No team has this id. `tollgate team list` shows the ids of all teams.";
/// What is logged unless something else is asked for.
const DEFAULT_LOG: &str = "info,sea_orm_migration=warn,sqlx::postgres::notice=warn";

/// Messaging with sub-accounts that share one prepaid balance.
///
/// New here? `tollgate demo` serves a small example, makes nothing permanent, and prints keys and
/// commands to try.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: error, warn, info, debug, or a filter such as "tollgate=debug".
    #[arg(long, env = "TOLLGATE_LOG", default_value = DEFAULT_LOG, global = true)]
    pub log: String,
    /// Say on standard error which database is used.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// How logs are written.
    #[arg(long, env = "TOLLGATE_LOG_FORMAT", default_value = "pretty", global = true)]
    pub log_format: LogFormat,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Pretty,
    /// A JSON object a line.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the example of the guide: a team, its main account and three sub-accounts.
    Demo(demo::DemoArgs),
    /// Serve the API.
    Serve(serve::ServeArgs),
    /// Bring the database's schema up to date.
    Migrate(MigrateArgs),
    /// Print the API's schema in the GraphQL schema language.
    Schema,
    /// Make teams, list them, top them up.
    #[command(subcommand)]
    Team(team::TeamCommand),
    /// Make, list and revoke the keys of operators and of main accounts.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Show and replace the price list.
    #[command(subcommand)]
    Price(price::PriceCommand),
    /// Stock the inventory of phone numbers, and show who has what.
    #[command(subcommand)]
    Number(number::NumberCommand),
    /// Import and export an account's contacts.
    #[command(subcommand)]
    Contact(contact::ContactCommand),
    /// Export usage for billing.
    #[command(subcommand)]
    Usage(usage::UsageCommand),
    /// Copy an SQLite database to a new file, also while it is served.
    Backup(BackupArgs),
    /// Recompute balances, totals and usage from the ledger: exit code 0 if they agree, 1 if not.
    Audit(AuditArgs),
}

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
    database_url: Option<String>,
    /// A file that holds the database URL, for secrets, instead of the URL itself.
    #[arg(long, env = "DATABASE_URL_FILE", conflicts_with = "database_url")]
    database_url_file: Option<PathBuf>,
    /// PostgreSQL: connections for reading, and as many for changes and delivery, for each process.
    #[arg(
        long,
        env = "TOLLGATE_DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    database_connections: u32,
}

/// Whether a command's result is for a script.
#[derive(Args, Clone, Copy)]
struct OutputArgs {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    row_security: RowSecurityArgs,
}

/// Whether PostgreSQL keeps callers to their own rows, too.
#[derive(Args, Clone, Copy)]
struct RowSecurityArgs {
    /// Let PostgreSQL, too, keep each caller to the rows of its account and team: migrate sets that up,
    /// serve reads under it.
    #[arg(long, env = "TOLLGATE_ROW_SECURITY", action = ArgAction::SetTrue, value_parser = switch)]
    row_security: bool,
}

#[derive(Args)]
struct BackupArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// The file to write. It must not exist.
    file: PathBuf,
}

#[derive(Args)]
struct AuditArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Cli {
    /// Runs the command; the result's text has been printed when this returns.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let code = self.run_command().await.map_err(explain_missing_right)?;
        match output::failure() {
            // A reader that has seen enough, such as head, needs no words.
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::from(2)),
            Some(error) => bail!("standard output cannot be written: {error}"),
            None => Ok(code),
        }
    }

    async fn run_command(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Migrate(args) => migrate(&args).await,
            Command::Schema => {
                print_line!("{}", graphql::sdl().trim_end());
                Ok(ExitCode::SUCCESS)
            }
            Command::Team(command) => team::run(command).await,
            Command::Key(command) => key::run(command).await,
            Command::Price(command) => price::run(command).await,
            Command::Number(command) => number::run(command).await,
            Command::Contact(command) => contact::run(command).await,
            Command::Usage(command) => usage::run(command).await,
            Command::Backup(args) => back_up(args).await,
            Command::Audit(args) => audit(args).await,
        }
    }
}

impl DatabaseArgs {
    fn url(&self) -> anyhow::Result<String> {
        let Some(path) = &self.database_url_file else {
            return Ok(self.database_url.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned()));
        };
        let url = std::fs::read_to_string(path);
        let url = url.with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(url.trim().to_owned())
    }

    /// Opens the database; an `SQLite` file is made if there is none.
    async fn connect(&self) -> anyhow::Result<Db> {
        connect(&self.url()?, self.database_connections).await
    }

    /// Opens a database that must exist.
    async fn connect_existing(&self) -> anyhow::Result<Db> {
        let url = self.url()?;
        if let Some(file) = db::sqlite_path(&url) {
            if !file.exists() {
                bail!("there is no database at {}; {WHERE_IT_IS}", full_path(&file).display());
            }
            // Before it is opened as one, which changes it.
            refuse_foreign(&url).await?;
            if db::tables_of_sqlite(&url).await?.is_empty() {
                bail!(
                    "{} is not a database of Tollgate; {WHERE_IT_IS}",
                    full_path(&file).display()
                );
            }
        }
        let db = connect(&url, self.database_connections).await?;
        if db.is_empty().await? {
            bail!(
                "{} has no tables of Tollgate; run `tollgate migrate` with the same database URL first",
                shown(&url)
            );
        }
        Ok(db)
    }

    /// The app of a command on a database that must exist, and be current; an `SQLite` one is made so.
    async fn app(&self) -> anyhow::Result<Arc<App>> {
        app_of(self.connect_existing().await?).await
    }

    /// The same for a command that may be the first of a database.
    async fn new_app(&self) -> anyhow::Result<Arc<App>> {
        app_of(self.connect().await?).await
    }

    /// What a further command needs to use the same database, unless that is the default one. A URL of PostgreSQL may
    /// hold a password, and is not repeated.
    fn repeated(&self) -> String {
        match (&self.database_url, &self.database_url_file) {
            (Some(url), _) if url.starts_with("sqlite:") => format!(" --database-url '{url}'"),
            (Some(_), _) => " --database-url …".to_owned(),
            (None, Some(file)) => format!(" --database-url-file '{}'", file.display()),
            (None, None) => String::new(),
        }
    }
}

/// Says what to do if the login of the database URL may not do what a command does.
fn explain_missing_right(error: anyhow::Error) -> anyhow::Error {
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

/// Refuses an `SQLite` file of another program, which would get the tables of this one.
async fn refuse_foreign(url: &str) -> anyhow::Result<()> {
    if let Some(file) = db::sqlite_path(url).filter(|file| file.exists()) {
        let file = full_path(&file);
        let tables = db::tables_of_sqlite(url).await;
        let tables =
            tables.with_context(|| format!("{} is not an SQLite database", file.display()))?;
        if !tables.is_empty() && !tables.iter().any(|table| table == db::MIGRATIONS_TABLE) {
            bail!("{} is a database of another program; {WHERE_IT_IS}", file.display());
        }
    }
    Ok(())
}

/// Brings the schema up to date.
async fn bring_up_to_date(db: &Db) -> anyhow::Result<()> {
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
fn shown(url: &str) -> String {
    if let Some(file) = db::sqlite_path(url) {
        return full_path(&file).display().to_string();
    }
    reach::shown(url)
}

fn full_path(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

/// Refuses a URL under which no database can be opened or made.
fn check_url(url: &str) -> anyhow::Result<()> {
    if !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme)) {
        bail!("the database URL must begin with sqlite: or postgres:");
    }
    if url.starts_with("sqlite:") && db::sqlite_path(url).is_none() {
        bail!("the database URL must name a file: sqlite://FILE?mode=rwc");
    }
    let Some(file) = db::sqlite_path(url).filter(|file| !file.exists()) else { return Ok(()) };
    let file = full_path(&file);
    if let Some(folder) = file.parent().filter(|folder| !folder.is_dir()) {
        bail!("there is no folder {}", folder.display());
    }
    if !url.contains("mode=rwc") {
        bail!("there is no database at {}; add ?mode=rwc to the URL to make one", file.display());
    }
    Ok(())
}

async fn connect(url: &str, connections: u32) -> anyhow::Result<Db> {
    check_url(url)?;
    refuse_foreign(url).await?;
    tracing::debug!(target: LOG_OF_DATABASE, "The database is {}", shown(url));
    open(url, connections, RowSecurity::Off).await
}

async fn open(url: &str, connections: u32, row_security: RowSecurity) -> anyhow::Result<Db> {
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
async fn make_current(db: &Db, may_migrate: bool) -> anyhow::Result<()> {
    if db.is_current().await? {
        return Ok(());
    }
    if db.backend() == DbBackend::Sqlite || may_migrate {
        return bring_up_to_date(db).await;
    }
    bail!(
        "the database's schema is not current; run `tollgate migrate` with the same database URL first"
    );
}

async fn migrate(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let db = args.database.connect().await?;
    bring_up_to_date(&db).await?;
    print_line!("The database's schema is current.");
    if args.row_security.row_security {
        set_up_row_security(&db).await?;
        print_line!("Row security is set up.");
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_up_row_security(db: &Db) -> anyhow::Result<()> {
    if db.backend() != DbBackend::Postgres {
        bail!("row security is PostgreSQL's; leave --row-security out");
    }
    let rights = "row security cannot be set up. If the login may not create roles, have somebody who may \
                  run: CREATE ROLE tollgate_system NOLOGIN; CREATE ROLE tollgate_server NOLOGIN; \
                  GRANT tollgate_system, tollgate_server TO the login";
    row_security::set_up(&db.write).await.context(rights)
}

async fn back_up(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let db = args.database.connect_existing().await?;
    db.back_up(&args.file).await?;
    print_line!("The database was copied to {}.", full_path(&args.file).display());
    Ok(ExitCode::SUCCESS)
}

async fn audit(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let db = args.database.connect_existing().await?;
    if !db.is_current().await? {
        bail!(
            "the database's schema is not current; run `tollgate migrate` with the same database URL first"
        );
    }
    let (app, _) = App::new(db, Arc::new(SystemClock), Carriers::none());
    let found = audit::run(&app).await?;
    if found.teams == 0 && found.accounts == 0 && found.drifts.is_empty() {
        let database = shown(&args.database.url()?);
        bail!("{database} holds no team, so there is nothing to audit; is it the right database?");
    }
    if args.output.json {
        let drifts = found.drifts.iter().map(|drift| {
            serde_json::json!({
                "check": drift.check,
                "id": drift.id,
                "storedMicros": drift.stored_micros,
                "ledgerMicros": drift.ledger_micros,
            })
        });
        let report = serde_json::json!({
            "clean": found.drifts.is_empty(),
            "teams": found.teams,
            "accounts": found.accounts,
            "ledgerEntries": found.ledger_entries,
            "drifts": drifts.collect::<Vec<_>>(),
        });
        print_line!("{report}");
    } else {
        print_line!(
            "Audited: teams {}, accounts {}, ledger entries {}.",
            found.teams,
            found.accounts,
            found.ledger_entries
        );
        for drift in &found.drifts {
            print_line!("DRIFT: {}", drift.fault);
        }
        if found.drifts.is_empty() {
            print_line!(
                "Clean: balances, totals, charges, refunds and usage agree with the ledger."
            );
        }
    }
    Ok(if found.drifts.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A refusal or fault of the domain as a message for the terminal.
fn explain<C>(failure: Failure<C>) -> anyhow::Error {
    match failure {
        Failure::Refused(refusal) => anyhow::Error::msg(refusal.message),
        Failure::Fault(fault) => fault.into(),
    }
}

/// What a command did, or why it was refused, which is then in the audit log too. `team_id` is the team that it
/// named.
async fn done<T, C: Debug>(
    app: &App,
    action: AuditAction,
    team_id: Option<Uuid>,
    done: Result<T, Failure<C>>,
) -> anyhow::Result<T> {
    if let Err(Failure::Refused(refusal)) = &done {
        enter_refusal(app, action, audit_call::code_name(&refusal.code), team_id).await?;
    }
    done.map_err(explain)
}

/// Enters in the audit log that a command was refused.
async fn enter_refusal(
    app: &App,
    action: AuditAction,
    code: String,
    id: Option<Uuid>,
) -> anyhow::Result<()> {
    let named = Named { id, account: None };
    let by = &OperatorCaller::on_the_command_line();
    Ok(audit_call::enter_refusal(app, by, action, code, named).await?)
}

/// A switch in the environment: unset and empty mean off.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "" | "0" | "false" | "no" | "off" => Ok(false),
        "1" | "true" | "yes" | "on" => Ok(true),
        _ => Err("expected true or false".to_owned()),
    }
}

/// An id that was typed; `source` shows where ids of its kind are found.
fn parse_id(text: &str, source: &str) -> anyhow::Result<Uuid> {
    Uuid::try_parse(text)
        .map_err(|_| anyhow::anyhow!("{text:?} is not a valid id (a UUID; see {source})"))
}

fn parse_team_id(text: &str) -> anyhow::Result<Uuid> {
    parse_id(text, "tollgate team list")
}

/// A refusal with this code, said as a command says it: the team was named by its id.
fn name_team<C: PartialEq>(failure: Failure<C>, not_found: &C) -> Failure<C> {
    match failure {
        Failure::Refused(mut refusal) if refusal.code == *not_found => {
            refusal.message = TEAM_NOT_FOUND.into();
            Failure::Refused(refusal)
        }
        other => other,
    }
}
