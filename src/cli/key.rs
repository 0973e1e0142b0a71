//! `tollgate key`: API keys for operators and for main accounts.

use std::process::ExitCode;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use entity::{
    api_key::{self, Environment},
    audit_entry::AuditAction,
};
use uuid::Uuid;

use super::{
    DatabaseArgs, OutputArgs, TEAM_NOT_FOUND, enter_refusal, explain_team_not_found,
    output::print_line, parse_id, parse_team_id, record_refusal,
};
use crate::domain::{
    api_key::{
        self as keys, CreateKeyRefusal, NewApiKey, authentication::is_usable, list as api_key_list,
        revocation as api_key_revocation,
    },
    audit_log::refused_call::Target,
    caller::OperatorCaller,
};

#[derive(Subcommand)]
pub enum KeyCommand {
    /// Create an API key. The key is shown only once.
    Create {
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        owner: OwnerArgs,
        /// The key's name, 1 to 200 characters.
        #[arg(long, default_value = "Command line")]
        name: String,
        /// Create a TEST key: nothing is charged and nothing is delivered. Not for operators.
        #[arg(long, conflicts_with = "operator")]
        test: bool,
        /// When the key expires, such as 2027-01-01T00:00:00Z [default: never].
        #[arg(long, value_parser = moment)]
        expires_at: Option<DateTime<Utc>>,
    },
    /// List API keys, newest first. Only the first and last characters of a key are shown.
    List {
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        owner: OwnerArgs,
    },
    /// Revoke an API key immediately and permanently, even the last one of a main account.
    Revoke {
        #[command(flatten)]
        database: DatabaseArgs,
        /// The key's id.
        id: String,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct OwnerArgs {
    /// Keys of the server's operators.
    #[arg(long)]
    operator: bool,
    /// Keys of this team's main account.
    #[arg(long, value_name = "ID")]
    team: Option<String>,
}

impl OwnerArgs {
    /// Returns the team's id, or `None` for the operators.
    fn team_id(&self) -> anyhow::Result<Option<Uuid>> {
        self.team.as_deref().map(parse_team_id).transpose()
    }
}

fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| "expected a date and time, such as 2027-01-01T00:00:00Z".to_owned())
}

pub async fn run(command: KeyCommand) -> anyhow::Result<ExitCode> {
    let operator = OperatorCaller::on_the_command_line();
    match command {
        KeyCommand::Create { database, output, owner, name, test, expires_at } => {
            let app = database.app().await?;
            let environment = if test { Environment::Test } else { Environment::Live };
            let new = NewApiKey { name, environment, expires_at };
            let team_id = owner.team_id()?;
            let made = match team_id {
                None => keys::create_for_operator(&app, &operator, new).await,
                Some(team_id) => keys::create_for_main(&app, &operator, team_id, new).await,
            };
            let made = made
                .map_err(|failure| explain_team_not_found(failure, &CreateKeyRefusal::NotFound));
            let (key, plain_key) =
                record_refusal(&app, AuditAction::CreateApiKey, team_id, made).await?;
            if output.json {
                let made = serde_json::json!({ "id": key.id, "plainKey": plain_key.reveal() });
                print_line!("{made}");
            } else {
                print_line!("Id:  {}", key.id);
                print_line!("Key: {}\n     (shown only once)", plain_key.reveal());
            }
        }
        KeyCommand::List { database, output, owner } => {
            let app = database.app().await?;
            let team_id = owner.team_id()?;
            let keys = api_key_list::list_for_operator(&app, &operator, team_id).await?;
            if keys.is_empty() && team_id.is_some() {
                // Every existing team has at least its first key, even if that key has been revoked.
                bail!(TEAM_NOT_FOUND);
            }
            let now = app.clock.now();
            if output.json {
                let keys = keys.iter().map(|key| {
                    serde_json::json!({
                        "id": key.id,
                        "name": key.name,
                        "prefix": key.prefix,
                        "lastFour": key.last_four,
                        "state": state(key, now),
                        "lastUsedAt": key.last_used_at,
                    })
                });
                print_line!("{}", serde_json::json!({ "keys": keys.collect::<Vec<_>>() }));
            } else {
                for key in &keys {
                    let shown = format!("{}…{}", key.prefix, key.last_four);
                    print_line!("{}  {shown:<24} {:<8} {}", key.id, state(key, now), key.name);
                }
            }
        }
        KeyCommand::Revoke { database, id } => {
            let app = database.app().await?;
            let id = parse_id(&id, "tollgate key list")?;
            if api_key_revocation::revoke_any(&app, &operator, id).await?.is_none() {
                let target = Target::Key(Some(id));
                enter_refusal(&app, AuditAction::RevokeApiKey, "NOT_FOUND", target).await?;
                bail!("no key has this id");
            }
            print_line!("The key was revoked.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn state(key: &api_key::Model, now: DateTime<Utc>) -> &'static str {
    match (key.revoked_at, is_usable(key, now)) {
        (Some(_), _) => "revoked",
        (None, true) => "usable",
        (None, false) => "expired",
    }
}
