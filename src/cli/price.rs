//! `tollgate price`: imports and lists the price list as CSV.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use sea_orm::ActiveEnum;

use super::{DatabaseArgs, output::print_line, read_list};
use crate::{
    domain::{
        billing::{
            price,
            price_import::{self, COLUMNS, PriceRow},
        },
        caller::OperatorCaller,
    },
    money::Micros,
};

#[derive(Subcommand)]
pub enum PriceCommand {
    /// Replace the whole price list with a CSV file.
    ///
    /// Without --commit, the changes are shown but not applied.
    Import {
        #[command(flatten)]
        database: DatabaseArgs,
        #[arg(
            help = "A CSV file with the columns channel, prefix, country and price_cents, in the format of \
                      `price list`"
        )]
        file: PathBuf,
        /// Apply the changes.
        #[arg(long)]
        commit: bool,
    },
    /// Print the price list as CSV. Prices are in cents, per segment for SMS and per message otherwise.
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

pub async fn run(command: PriceCommand) -> anyhow::Result<ExitCode> {
    match command {
        PriceCommand::Import { database, file, commit } => {
            let rows = read_list(&file, "price list", price_import::read_csv)?;
            let app = database.app().await?;
            let diff = price_import::diff(&app, &rows).await?;
            for row in &diff.added {
                print_line!("+ {} {}", name(row), row.price);
            }
            for (before, row) in &diff.changed {
                print_line!("~ {} {before} -> {}", name(row), row.price);
            }
            for row in &diff.removed {
                print_line!("- {} {}", name(row), row.price);
            }
            let (added, changed, removed) =
                (diff.added.len(), diff.changed.len(), diff.removed.len());
            print_line!("{added} added, {changed} changed, {removed} removed.");
            if commit {
                let operator = OperatorCaller::on_the_command_line();
                price_import::commit(&app, &operator, diff).await?;
                print_line!("Done.");
            } else if !diff.is_empty() {
                print_line!("Nothing was changed; repeat with --commit to apply the changes.");
            }
        }
        PriceCommand::List { database } => {
            let app = database.app().await?;
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            writer.write_record(COLUMNS)?;
            for row in price::list(&app).await? {
                let price = Micros::from_db(row.price_micros).to_cents_text();
                let country = row.country.unwrap_or_default();
                writer.write_record([row.channel.to_value(), row.prefix, country, price])?;
            }
            writer.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn name(row: &PriceRow) -> String {
    let prefix = if row.prefix.is_empty() { "(all)" } else { &row.prefix };
    format!("{} {prefix} {}", row.channel.to_value(), row.country.as_deref().unwrap_or("-"))
}
