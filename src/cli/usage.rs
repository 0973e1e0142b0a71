//! `tollgate usage export`: the usage of each sub-account as CSV, for billing.

use std::process::ExitCode;

use chrono::NaiveDate;
use clap::Subcommand;

use super::{DatabaseArgs, parse_team_id};
use crate::domain::billing::usage::{self, DateRange};

#[derive(Subcommand)]
pub enum UsageCommand {
    /// Print the usage of each sub-account as CSV. Amounts are in cents.
    Export {
        #[command(flatten)]
        database: DatabaseArgs,
        /// The first day (UTC), such as 2027-01-01.
        #[arg(long, value_parser = day)]
        from: NaiveDate,
        /// The last day (UTC), inclusive.
        #[arg(long, value_parser = day)]
        to: NaiveDate,
        /// Only this team [default: all teams].
        #[arg(long, value_name = "ID")]
        team: Option<String>,
        /// Include main accounts.
        #[arg(long)]
        main_accounts: bool,
    },
}

fn day(text: &str) -> Result<NaiveDate, String> {
    text.parse().map_err(|_| "expected a date as YYYY-MM-DD, such as 2027-01-31".to_owned())
}

pub async fn run(command: UsageCommand) -> anyhow::Result<ExitCode> {
    let UsageCommand::Export { database, from, to, team, main_accounts } = command;
    let team_id = team.as_deref().map(parse_team_id).transpose()?;
    let app = database.app().await?;
    let lines = usage::export(&app, team_id, DateRange { from, to }, main_accounts).await?;

    let mut writer = csv::Writer::from_writer(std::io::stdout());
    writer.write_record([
        "team_id",
        "account_id",
        "external_id",
        "name",
        "from",
        "to",
        "messages",
        "segments",
        "delivered",
        "failed",
        "charged_cents",
        "refunded_cents",
        "spent_cents",
        "number_fees_cents",
    ])?;
    for line in lines {
        let figures = &line.figures;
        writer.write_record([
            line.account.team_id.to_string(),
            line.account.id.to_string(),
            cell(line.account.external_id.as_deref().unwrap_or_default()),
            cell(&line.account.name),
            from.to_string(),
            to.to_string(),
            figures.messages.to_string(),
            figures.segments.to_string(),
            figures.delivered.to_string(),
            figures.failed.to_string(),
            figures.charged()?.to_cents_text(),
            figures.refunded()?.to_cents_text(),
            figures.spent()?.to_cents_text(),
            line.number_fees()?.to_cents_text(),
        ])?;
    }
    writer.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Puts an apostrophe before text that a spreadsheet would execute as a formula.
fn cell(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() }
}
