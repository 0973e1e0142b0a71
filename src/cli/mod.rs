//! The command line: every setting is a flag and an environment variable. Results go to standard
//! output, logs to standard error. Exit codes: 0 done, 1 an audit that found drift, 2 anything else.

use std::{io, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::{Context, bail};
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

pub use database::LOG_OF_DATABASE;
use database::{
    DatabaseArgs, NOT_CURRENT, bring_up_to_date, connect, full_path, make_current, shown,
};
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
        let code = self.run_command().await.map_err(database::explain_missing_right)?;
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
        bail!(NOT_CURRENT);
    }
    let (app, _) = App::new(db, Arc::new(SystemClock), Carriers::none());
    let found = billing::reconciliation::run(&app).await?;
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
async fn done<T, C: Copy + Into<&'static str>>(
    app: &App,
    action: AuditAction,
    team_id: Option<Uuid>,
    done: Result<T, Failure<C>>,
) -> anyhow::Result<T> {
    if let Err(Failure::Refused(refusal)) = &done {
        enter_refusal(app, action, refusal.code.into(), Target::Team(team_id)).await?;
    }
    done.map_err(explain)
}

/// Enters in the audit log that a command was refused.
async fn enter_refusal(
    app: &App,
    action: AuditAction,
    code: &str,
    target: Target<'_>,
) -> anyhow::Result<()> {
    let by = &OperatorCaller::on_the_command_line();
    Ok(refused_call::enter_refusal(app, by, action, code, target).await?)
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
