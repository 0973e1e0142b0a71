//! The command line. Results go to standard output, logs to standard error. Exit codes: 0 success, 1 drift found by
//! `reconcile`, 2 any other failure.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use entity::audit_entry::AuditAction;
use sea_orm::DbBackend;
use uuid::Uuid;

use crate::{
    app::App,
    carrier::Carriers,
    clock::SystemClock,
    db::{Db, row_security},
    domain::{
        Failure,
        audit_log::refused_call::{self, Target},
        billing,
        caller::OperatorCaller,
    },
    graphql,
};

pub use database::DATABASE_LOG_TARGET;
use database::{DatabaseArgs, NOT_CURRENT, connect, display_name, ensure_current, full_path};
use output::print_line;

mod contact;
mod database;
pub mod demo;
mod http_args;
mod key;
mod number;
mod output;
pub mod panic_log;
mod price;
mod serve;
mod team;
mod usage;

const TEAM_NOT_FOUND: &str =
    "No team has this id. `tollgate team list` shows the ids of all teams.";
const DEFAULT_LOG: &str = "info,sea_orm_migration=warn,sqlx::postgres::notice=warn";

/// Messaging with sub-accounts that share one prepaid balance.
///
/// To try it, run `tollgate demo`: it serves temporary example data, and prints API keys and commands.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The log level (error, warn, info or debug), or a filter such as "tollgate=debug".
    #[arg(long, env = "TOLLGATE_LOG", default_value = DEFAULT_LOG, global = true)]
    pub log: String,
    /// Log which database is used.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// The format of logs.
    #[arg(long, env = "TOLLGATE_LOG_FORMAT", default_value = "pretty", global = true)]
    pub log_format: LogFormat,
}

/// The format of logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text per event.
    Pretty,
    /// One JSON object per line.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Serve example data: a team with a main account and three sub-accounts.
    Demo(demo::DemoArgs),
    /// Serve the API and deliver messages.
    Serve(serve::ServeArgs),
    /// Update the database schema to the current version.
    Migrate(MigrateArgs),
    /// Print the GraphQL schema.
    Schema,
    /// Create, list and top up teams.
    #[command(subcommand)]
    Team(team::TeamCommand),
    /// Create, list and revoke API keys of operators and main accounts.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Show and replace the price list.
    #[command(subcommand)]
    Price(price::PriceCommand),
    /// Manage the inventory of phone numbers.
    #[command(subcommand)]
    Number(number::NumberCommand),
    /// Import and export the contacts of an account.
    #[command(subcommand)]
    Contact(contact::ContactCommand),
    /// Export usage for billing.
    #[command(subcommand)]
    Usage(usage::UsageCommand),
    /// Copy an SQLite database to a new file, even while the server is running.
    Backup(BackupArgs),
    /// Check balances, totals and usage against the ledger. The exit code is 0 if they agree and 1 if not.
    #[command(visible_alias = "audit")]
    Reconcile(ReconcileArgs),
}

/// Reads a CSV file that contains a list. The error lists all problems in the file.
fn read_list<R>(
    file: &Path,
    name: &str,
    read_csv: impl FnOnce(File) -> Result<Vec<R>, Vec<String>>,
) -> anyhow::Result<Vec<R>> {
    let shown = file.display();
    let opened = File::open(file).with_context(|| format!("cannot read {shown}"))?;
    read_csv(opened)
        .map_err(|problems| anyhow!("{shown} is not a valid {name}:\n  {}", problems.join("\n  ")))
}

#[derive(Args, Clone, Copy)]
struct OutputArgs {
    /// Print the result as one JSON object.
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

#[derive(Args, Clone, Copy)]
struct RowSecurityArgs {
    /// PostgreSQL: use row-level security as a second check that callers read only rows of their own account and team.
    /// `migrate` sets it up, `serve` uses it.
    #[arg(long, env = "TOLLGATE_ROW_SECURITY", action = ArgAction::SetTrue, value_parser = switch)]
    row_security: bool,
}

#[derive(Args)]
struct BackupArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// The file to create. It must not exist.
    file: PathBuf,
}

#[derive(Args)]
struct ReconcileArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Cli {
    /// Runs the command and prints its result.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let code = self.run_command().await.map_err(database::explain_missing_right)?;
        match output::failure() {
            // The reader of the output, such as `head`, has closed the pipe. No message is needed.
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
            Command::Reconcile(args) => reconcile(args).await,
        }
    }
}

async fn migrate(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let db = args.database.connect().await?;
    database::migrate(&db).await?;
    print_line!("The database's schema is current.");
    if args.row_security.row_security {
        set_up_row_security(&db).await?;
        print_line!("Row security is set up.");
    }
    Ok(ExitCode::SUCCESS)
}

async fn set_up_row_security(db: &Db) -> anyhow::Result<()> {
    if db.backend() != DbBackend::Postgres {
        bail!("row security needs PostgreSQL; omit --row-security");
    }
    let advice = "row security cannot be set up. If the login may not create roles, run as a database \
                  administrator: CREATE ROLE tollgate_system NOLOGIN; CREATE ROLE tollgate_server NOLOGIN; \
                  GRANT tollgate_system, tollgate_server TO <login>";
    row_security::set_up(&db.write).await.context(advice)
}

async fn back_up(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let db = args.database.connect_existing().await?;
    db.back_up(&args.file).await?;
    print_line!("The database was copied to {}.", full_path(&args.file).display());
    Ok(ExitCode::SUCCESS)
}

async fn reconcile(args: ReconcileArgs) -> anyhow::Result<ExitCode> {
    let db = args.database.connect_existing().await?;
    if !db.is_current().await? {
        bail!(NOT_CURRENT);
    }
    let (app, _) = App::new(db, Arc::new(SystemClock), Carriers::none());
    let found = billing::reconciliation::run(&app).await?;
    if found.teams == 0 && found.accounts == 0 && found.drifts.is_empty() {
        let database = display_name(&args.database.url()?);
        bail!(
            "{database} has no teams, so there is nothing to reconcile; is it the right database?"
        );
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
            "Reconciled: teams {}, accounts {}, ledger entries {}.",
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

/// Converts a domain failure to an error message.
fn explain<C>(failure: Failure<C>) -> anyhow::Error {
    match failure {
        Failure::Refused(refusal) => anyhow::Error::msg(refusal.message),
        Failure::Fault(fault) => fault.into(),
    }
}

/// Returns the result of a command. If the command was refused, this is also recorded in the audit log. `team_id` is
/// the team in the command's arguments.
async fn record_refusal<T, C: Copy + Into<&'static str>>(
    app: &App,
    action: AuditAction,
    team_id: Option<Uuid>,
    result: Result<T, Failure<C>>,
) -> anyhow::Result<T> {
    if let Err(Failure::Refused(refusal)) = &result {
        enter_refusal(app, action, refusal.code.into(), Target::Team(team_id)).await?;
    }
    result.map_err(explain)
}

/// Adds an entry for a refused command to the audit log.
async fn enter_refusal(
    app: &App,
    action: AuditAction,
    code: &str,
    target: Target<'_>,
) -> anyhow::Result<()> {
    let by = &OperatorCaller::on_the_command_line();
    Ok(refused_call::enter_refusal(app, by, action, code, target).await?)
}

/// Parses a switch from the environment. An empty value means off.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "" | "0" | "false" | "no" | "off" => Ok(false),
        "1" | "true" | "yes" | "on" => Ok(true),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Parses an id. `source` tells the user where to find such ids.
fn parse_id(text: &str, source: &str) -> anyhow::Result<Uuid> {
    Uuid::try_parse(text)
        .map_err(|_| anyhow::anyhow!("{text:?} is not a valid id (a UUID; see {source})"))
}

fn parse_team_id(text: &str) -> anyhow::Result<Uuid> {
    parse_id(text, "tollgate team list")
}

/// Replaces the message of the refusal `not_found` with a message for the command line.
fn explain_team_not_found<C: PartialEq>(failure: Failure<C>, not_found: &C) -> Failure<C> {
    match failure {
        Failure::Refused(mut refusal) if refusal.code == *not_found => {
            refusal.message = TEAM_NOT_FOUND.into();
            Failure::Refused(refusal)
        }
        other => other,
    }
}
