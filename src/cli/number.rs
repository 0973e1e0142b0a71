//! `tollgate number`: imports and lists the inventory of phone numbers, and withdraws numbers from it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::bail;
use clap::Subcommand;
use entity::{
    audit_entry::AuditAction,
    message::Channel,
    phone_number::{PhoneNumberStatus, capabilities},
};
use sea_orm::ActiveEnum;

use super::{DatabaseArgs, output::print_line, read_list, record_refusal};
use crate::domain::{
    caller::OperatorCaller,
    phone_number::{
        self, inventory,
        inventory_import::{self, COLUMNS, StockRow},
    },
};

#[derive(Subcommand)]
pub enum NumberCommand {
    /// Add the numbers of a CSV file to the inventory, or update them.
    ///
    /// Without --commit, the changes are shown but not applied. Numbers that have been bought keep their prices.
    Import {
        #[command(flatten)]
        database: DatabaseArgs,
        #[arg(
            help = "A CSV file with the columns number, country, type, capabilities, upfront_cents and monthly_cents, \
                    in the format of `number list`"
        )]
        file: PathBuf,
        /// Apply the changes.
        #[arg(long)]
        commit: bool,
    },
    /// Print the inventory as CSV, with the account that has each number. Prices are in cents, and are what the next
    /// buyer pays.
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Remove a number from the inventory. An account that has the number keeps it until releasing it.
    Withdraw {
        #[command(flatten)]
        database: DatabaseArgs,
        /// The number in E.164, such as +12025550123.
        number: String,
    },
}

pub async fn run(command: NumberCommand) -> anyhow::Result<ExitCode> {
    let operator = OperatorCaller::on_the_command_line();
    match command {
        NumberCommand::Import { database, file, commit } => {
            let rows = read_list(&file, "list of numbers", inventory_import::read_csv)?;
            let app = database.app().await?;
            let diff = inventory_import::diff(&app, rows).await?;
            for row in &diff.added {
                print_line!("+ {}", line(row));
            }
            for (before, row) in &diff.changed {
                print_line!("~ {} -> {}", line(before), line(row));
            }
            let (added, changed) = (diff.added.len(), diff.changed.len());
            print_line!("{added} added, {changed} changed, {} unchanged.", diff.unchanged);
            if commit {
                inventory_import::commit(&app, &operator, diff).await?;
                print_line!("Done.");
            } else if added + changed > 0 {
                print_line!("Nothing was changed; repeat with --commit to apply the changes.");
            }
        }
        NumberCommand::List { database } => {
            let app = database.app().await?;
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            writer.write_record(COLUMNS.iter().chain(&["status", "account_id", "renews_at"]))?;
            for (stock, holder) in inventory::list(&app).await? {
                let [number, country, number_type, capabilities, upfront, monthly] =
                    cells(&(&stock).into());
                let status = holder.as_ref().map(|holder| holder.status);
                let status = status.map(|status: PhoneNumberStatus| status.to_value());
                let account_id = holder.as_ref().map(|holder| holder.account_id.to_string());
                let renews_at = holder.map(|holder| holder.renews_at.to_rfc3339());
                writer.write_record([
                    number,
                    country,
                    number_type,
                    capabilities,
                    upfront,
                    monthly,
                    status.unwrap_or_else(|| "AVAILABLE".to_owned()),
                    account_id.unwrap_or_default(),
                    renews_at.unwrap_or_default(),
                ])?;
            }
            writer.flush()?;
        }
        NumberCommand::Withdraw { database, number } => {
            let Some(number) = phone_number::normalised(&number) else {
                bail!(
                    "{number:?} is not a phone number in E.164 format (expected one such as +12025550123)"
                );
            };
            let app = database.app().await?;
            let withdrawn = inventory::withdraw(&app, &operator, &number).await;
            let action = AuditAction::WithdrawPhoneNumber;
            match record_refusal(&app, action, None, withdrawn).await?.phone_number_id {
                None => print_line!("{number} was removed from the inventory."),
                Some(_) => print_line!(
                    "{number} was removed from the inventory; its account keeps the number until releasing it."
                ),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn cells(row: &StockRow) -> [String; COLUMNS.len()] {
    let capabilities = capabilities(row.has_sms, row.has_whatsapp);
    let capabilities: Vec<String> = capabilities.iter().map(Channel::to_value).collect();
    [
        row.number.clone(),
        row.country.clone(),
        row.number_type.to_value(),
        capabilities.join(" "),
        row.upfront_price.to_cents_text(),
        row.monthly_price.to_cents_text(),
    ]
}

fn line(row: &StockRow) -> String {
    let [number, country, number_type, capabilities, ..] = cells(row);
    let (upfront, monthly) = (row.upfront_price, row.monthly_price);
    format!("{number} {country} {number_type} {capabilities}: {upfront} + {monthly} a month")
}
