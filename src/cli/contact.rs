//! `tollgate contact`: imports and exports an account's contacts as CSV.

use std::{fs::File, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Subcommand;
use entity::account;

use super::{DatabaseArgs, OutputArgs, output::print_line, parse_id};
use crate::{
    app::App,
    domain::{
        caller::OperatorCaller,
        contact::{self, csv::RowVerdict},
    },
};

#[derive(Subcommand)]
pub enum ContactCommand {
    /// Create a contact for each row of a CSV file, up to 10,000, and print the result of each row as CSV.
    ///
    /// The import continues after a row that is not valid; the exit code is then 2.
    Import {
        #[command(flatten)]
        database: DatabaseArgs,
        #[command(flatten)]
        output: OutputArgs,
        /// The account's id.
        #[arg(long, value_name = "ID")]
        account: String,
        #[arg(
            help = "A CSV file with any of the columns display_name, locale, time_zone, tags, metadata, sms, \
                      email, whatsapp and telegram, in the format of `contact export`: one tag or address per \
                      line within a cell; an address can be followed by \" #\" and its label, as in \"+12025550123 #work\""
        )]
        file: PathBuf,
    },
    /// Print all contacts of an account as CSV, newest first.
    Export {
        #[command(flatten)]
        database: DatabaseArgs,
        /// The account's id.
        #[arg(long, value_name = "ID")]
        account: String,
    },
}

pub async fn run(command: ContactCommand) -> anyhow::Result<ExitCode> {
    let operator = OperatorCaller::on_the_command_line();
    match command {
        ContactCommand::Import { database, output, account, file } => {
            let opened =
                File::open(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let rows = contact::csv::read_csv(opened).map_err(anyhow::Error::msg);
            let rows = rows
                .with_context(|| format!("{} is not a valid list of contacts", file.display()))?;
            let app = database.app().await?;
            let account = find(&app, &account).await?;
            contact::csv::begin_import(&app, &operator, &account, rows.len()).await?;
            let mut verdicts = Vec::with_capacity(rows.len());
            let mut stopped = None;
            for row in rows {
                let line = row.line;
                match contact::csv::import(&app, &operator, &account, row).await {
                    Ok(verdict) => verdicts.push((line, verdict)),
                    Err(fault) => {
                        stopped = Some((line, fault));
                        break;
                    }
                }
            }
            print(&verdicts, output.json)?;
            if let Some((line, fault)) = stopped {
                return Err(fault)
                    .with_context(|| format!("the import stopped before line {line}"));
            }
            let is_refused = |verdict: &RowVerdict| matches!(verdict, RowVerdict::Refused { .. });
            let refused = verdicts.iter().filter(|(_, verdict)| is_refused(verdict)).count();
            if refused > 0 {
                let others = if refused == verdicts.len() { "none was" } else { "the others were" };
                bail!("{refused} of {} rows were refused; {others} imported", verdicts.len());
            }
        }
        ContactCommand::Export { database, account } => {
            let app = database.app().await?;
            let account = find(&app, &account).await?;
            let mut writer = csv::Writer::from_writer(std::io::stdout());
            writer.write_record(contact::csv::COLUMNS)?;
            let mut after = None;
            loop {
                let (rows, next) = contact::csv::export(&app, &operator, &account, after).await?;
                for row in rows {
                    writer.write_record(row)?;
                }
                if next.is_none() {
                    break;
                }
                after = next;
            }
            writer.flush()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(app: &App, id: &str) -> anyhow::Result<account::Model> {
    let account =
        contact::csv::find_account(app, parse_id(id, "the API's `account` and `subAccounts`")?)
            .await?;
    account.context("no account has this id")
}

fn print(verdicts: &[(u64, RowVerdict)], is_json: bool) -> anyhow::Result<()> {
    let cells = |verdict: &RowVerdict| match verdict {
        RowVerdict::Created(id) => (id.to_string(), "", String::new()),
        RowVerdict::Refused { code, message } => (String::new(), *code, message.clone()),
    };
    if is_json {
        let rows = verdicts.iter().map(|(line, verdict)| {
            let (id, code, message) = cells(verdict);
            let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            serde_json::json!({
                "line": line,
                "contactId": part(&id),
                "code": part(code),
                "message": part(&message),
            })
        });
        print_line!("{}", serde_json::json!({ "rows": rows.collect::<Vec<_>>() }));
        return Ok(());
    }
    let mut writer = csv::Writer::from_writer(std::io::stdout());
    writer.write_record(["line", "contact_id", "code", "message"])?;
    for (line, verdict) in verdicts {
        let (id, code, message) = cells(verdict);
        writer.write_record([line.to_string().as_str(), &id, code, &message])?;
    }
    Ok(writer.flush()?)
}
