//! `tollgate team`: creates, lists and tops up teams.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use entity::audit_entry::AuditAction;

use super::{
    DatabaseArgs, OutputArgs, explain_team_not_found, output::print_line, parse_team_id,
    record_refusal,
};
use crate::{
    app::App,
    clock,
    domain::{
        billing::{self, Deposited, TopUp, TopUpRefusal},
        caller::OperatorCaller,
        page::{PAGE_MAX, PageArgs},
        team,
    },
    money::Micros,
};

#[derive(Subcommand)]
pub enum TeamCommand {
    /// Create a team with a main account and its first API key, which is shown only once.
    Create {
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// The team's name, 1 to 200 characters.
        #[arg(long)]
        name: String,
        /// The initial balance, in cents.
        #[arg(long, value_name = "CENTS", value_parser = cents, allow_hyphen_values = true)]
        top_up: Option<Micros>,
    },
    /// List all teams, newest first.
    List {
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Add money to a team's balance.
    TopUp {
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// The team's id.
        team: String,
        /// The amount, in cents.
        #[arg(long, value_name = "CENTS", value_parser = cents, allow_hyphen_values = true)]
        amount: Micros,
        /// Makes retries safe: a repeated call with the same key and amount changes nothing [default: a new key].
        #[arg(long)]
        idempotency_key: Option<String>,
        /// A note for the ledger, such as an invoice number.
        #[arg(long)]
        note: Option<String>,
    },
}

/// Parses an amount. The argument is parsed early, so that an invalid amount is refused before a team is created.
fn cents(text: &str) -> Result<Micros, String> {
    let amount = Micros::from_cents_text(text).map_err(|error| error.to_string())?;
    if !amount.is_whole_cents() || text.contains('.') {
        return Err(whole_cents(text));
    }
    if amount > Micros::ZERO {
        Ok(amount)
    } else {
        Err("expected an amount greater than 0".to_owned())
    }
}

/// Returns the error for an amount with a decimal point. Such an amount is probably meant in dollars, and would add
/// only a hundredth of the intended amount.
fn whole_cents(text: &str) -> String {
    const EXPECTED: &str = "expected whole cents, without a decimal point";
    let hundredfold = format!("{text}e2");
    match (Micros::from_cents_text(text), Micros::from_cents_text(&hundredfold)) {
        (Ok(as_cents), Ok(as_dollars)) => {
            format!("{EXPECTED}; in dollars this would be {as_dollars}, in cents {as_cents}")
        }
        _ => EXPECTED.to_owned(),
    }
}

pub async fn run(command: TeamCommand) -> anyhow::Result<ExitCode> {
    let operator = OperatorCaller::on_the_command_line();
    match command {
        TeamCommand::Create { database, output, name, top_up } => {
            let app = database.new_app().await?;
            let created = team::create(&app, &operator, &name).await;
            let created = record_refusal(&app, AuditAction::CreateTeam, None, created).await?;
            if let Some(amount) = top_up {
                deposit(&app, &operator, created.team.id, amount, "team create".to_owned(), None)
                    .await
                    .context("the team was created, but not topped up")?;
            }
            let plain_key = created.plain_key.reveal();
            if output.json {
                let made = serde_json::json!({
                    "teamId": created.team.id,
                    "mainAccountId": created.main_account.id,
                    "plainKey": plain_key,
                });
                print_line!("{made}");
            } else {
                print_line!("Team:         {}", created.team.id);
                print_line!("Main account: {}", created.main_account.id);
                print_line!("Balance:      {}", top_up.unwrap_or_default());
                print_line!("Key:          {plain_key}\n              (shown only once)");
            }
        }
        TeamCommand::List { database, output } => {
            let app = database.app().await?;
            let mut teams = Vec::new();
            let mut after = None;
            loop {
                let first = i32::try_from(PAGE_MAX).ok();
                let page = PageArgs { first, after, ..PageArgs::default() };
                let page = team::list(&app, &operator, &page).await?;
                after = page.rows.last().map(|(cursor, _)| cursor.to_string());
                teams.extend(page.rows.into_iter().map(|(_, team)| team));
                if !page.has_next {
                    break;
                }
            }
            if output.json {
                let teams = teams.into_iter().map(|team| {
                    let balance = Micros::from_db(team.balance_micros).to_cents_text();
                    let balance: serde_json::Number =
                        balance.parse().expect("cents are written as a JSON number");
                    serde_json::json!({ "id": team.id, "name": team.name, "balance": balance })
                });
                print_line!("{}", serde_json::json!({ "teams": teams.collect::<Vec<_>>() }));
            } else if teams.is_empty() {
                let database = database.as_arguments();
                print_line!(
                    "No team exists yet. Create one: tollgate team create --name \"My team\"{database}"
                );
            } else {
                for team in teams {
                    let balance = Micros::from_db(team.balance_micros).to_string();
                    print_line!("{}  {balance:>24}  {}", team.id, team.name);
                }
            }
        }
        TeamCommand::TopUp { database, output, team, amount, idempotency_key, note } => {
            let app = database.app().await?;
            let key =
                idempotency_key.unwrap_or_else(|| format!("cli:{}", clock::new_id(&*app.clock)));
            let team_id = parse_team_id(&team)?;
            let deposited = deposit(&app, &operator, team_id, amount, key, note).await?;
            let balance = Micros::from_db(deposited.team.balance_micros);
            if output.json {
                let balance: serde_json::Number =
                    balance.to_cents_text().parse().expect("cents are written as a JSON number");
                let made = serde_json::json!({
                    "entryId": deposited.entry.id, "balance": balance,
                    "replayed": deposited.is_replay,
                });
                print_line!("{made}");
            } else if deposited.is_replay {
                print_line!("This top-up was already made; the balance is {balance}.");
            } else {
                print_line!("The balance is {balance}.");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn deposit(
    app: &App,
    operator: &OperatorCaller,
    team_id: uuid::Uuid,
    amount: Micros,
    idempotency_key: String,
    note: Option<String>,
) -> anyhow::Result<Deposited> {
    let top_up = TopUp { team_id: Some(team_id), amount: Ok(amount), idempotency_key, note };
    let deposited = billing::top_up(app, operator, top_up).await;
    let deposited =
        deposited.map_err(|failure| explain_team_not_found(failure, &TopUpRefusal::NotFound));
    record_refusal(app, AuditAction::TopUpTeam, Some(team_id), deposited).await
}
