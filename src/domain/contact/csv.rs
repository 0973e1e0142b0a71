//! Imports and exports contacts as CSV on the command line; an exported file can be imported unchanged. Each row is
//! created in its own transaction, so an invalid row does not affect the others. A row with an existing address is
//! refused, so an interrupted import can be repeated.
//!
//! The API has no such import because a file of 10,000 rows exceeds the maximum size and duration of a request. A
//! separate endpoint would need its own limits, deadline and storage for unfinished imports.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    sync::Arc,
};

use csv::StringRecord;
use entity::{account, audit_entry::AuditAction, contact, contact_address, message::Channel};
use sea_orm::EntityTrait;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    CreateContactRefusal, NewContact,
    address::NewAddress,
    check, insert,
    list::{ContactFilter, addresses_of, list_of, tags_of},
};
use crate::{
    app::App,
    domain::{
        Failure, Fault,
        account::AccountIds,
        api_key::authentication::begin_as_operator,
        audit_log::{Entry, Settings},
        caller::OperatorCaller,
        csv_file,
        import_pace::pause_after,
        page::{PAGE_MAX, PageArgs},
    },
    json,
};

/// Maximum number of rows in a file.
pub const ROWS_MAX: usize = 10_000;
/// The columns of a file, in any order; missing columns are treated as empty. A cell contains one tag or address per
/// line; an address may be followed by ` #` and a label. The first address of a channel is the primary address of the
/// channel.
pub const COLUMNS: [&str; 9] = [
    "display_name",
    "locale",
    "time_zone",
    "tags",
    "metadata",
    "sms",
    "email",
    "whatsapp",
    "telegram",
];
const CHANNELS: [(&str, Channel); 4] = [
    ("sms", Channel::Sms),
    ("email", Channel::Email),
    ("whatsapp", Channel::Whatsapp),
    ("telegram", Channel::Telegram),
];

/// Maximum number of tags or addresses in a cell.
pub const CELL_LINES_MAX: usize = 100;

/// A row of a file: its line number, and its cells or the reason why they cannot be read. The cells are parsed only
/// when the row is imported, because a parsed contact needs much more memory.
pub struct Row {
    pub line: u64,
    header: Arc<StringRecord>,
    cells: Result<StringRecord, String>,
}

impl Row {
    /// Returns the row as a contact, or the reason why the row is invalid.
    fn contact(self) -> Result<NewContact, String> {
        let record = self.cells?;
        contact_of(&self.header.iter().zip(&record).collect())
    }
}

/// The result of importing a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowVerdict {
    Created(Uuid),
    Refused { code: &'static str, message: String },
}

/// Reads a file. An error in the file as a whole is returned; an error in a row is reported when the row is imported.
pub fn read_csv(file: impl Read) -> Result<Vec<Row>, String> {
    let bytes = csv_file::read(file)?;
    let mut lines = csv_file::Rows::of(&bytes, csv::Trim::None)?;
    let header = Arc::new(lines.header.clone());
    let mut seen = HashSet::new();
    for column in header.iter() {
        if !COLUMNS.contains(&column) {
            let column = csv_file::shown(column);
            return Err(format!("unknown column {column} (expected {})", COLUMNS.join(", ")));
        }
        if !seen.insert(column) {
            return Err(csv_file::duplicate_column(column));
        }
    }
    let mut rows = Vec::new();
    for (line, cells) in &mut lines {
        if rows.len() == ROWS_MAX {
            return Err(format!("the file has more than {ROWS_MAX} rows; split it"));
        }
        rows.push(Row { line, header: Arc::clone(&header), cells });
    }
    Ok(rows)
}

fn contact_of(cells: &HashMap<&str, &str>) -> Result<NewContact, String> {
    let cell = |name: &str| cells.get(name).map_or("", |cell| unescape_formula(cell.trim()));
    let text = |name: &str| Some(cell(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    let metadata = match text("metadata") {
        None => None,
        Some(metadata) => Some(
            json::parse(metadata.as_bytes())
                .map_err(|error| format!("metadata is not a valid JSON object ({error})"))?,
        ),
    };
    let mut addresses = Vec::new();
    for (name, channel) in CHANNELS {
        for line in lines(name, cell(name))? {
            let (address, label) = match line.split_once(" #") {
                Some((address, label)) => (address, Some(label.to_owned())),
                None => (line, None),
            };
            let address = address.to_owned();
            addresses.push(NewAddress { channel: Some(channel), address, label });
        }
    }
    Ok(NewContact {
        display_name: text("display_name"),
        locale: text("locale"),
        time_zone: text("time_zone"),
        tags: lines("tags", cell("tags"))?.into_iter().map(str::to_owned).collect(),
        metadata,
        addresses,
    })
}

fn lines<'c>(column: &str, cell: &'c str) -> Result<Vec<&'c str>, String> {
    let lines = cell.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.take(CELL_LINES_MAX + 1).collect();
    if lines.len() > CELL_LINES_MAX {
        return Err(format!("{column} has more than {CELL_LINES_MAX} lines"));
    }
    Ok(lines)
}

pub async fn find_account(app: &App, id: Uuid) -> Result<Option<account::Model>, Fault> {
    Ok(account::Entity::find_by_id(id).one(&app.db.read).await?)
}

/// Writes the audit log entry for an import. The entry is written before the rows are imported, because each row is
/// committed separately.
pub async fn begin_import(
    app: &App,
    operator: &OperatorCaller,
    account: &account::Model,
    rows: usize,
) -> Result<(), Fault> {
    let counts = Settings::from([("rows", json!(rows))]);
    let txn = begin_as_operator(app, operator).await?;
    txn.commit(app, Entry::of(AuditAction::ImportContacts, None).to(account).made(counts)).await
}

/// Creates a contact of the account from a row.
pub async fn import(
    app: &App,
    _operator: &OperatorCaller,
    account: &account::Model,
    row: Row,
) -> Result<RowVerdict, Fault> {
    let new = match row.contact() {
        Ok(new) => new,
        Err(message) => return Ok(RowVerdict::Refused { code: "ROW_INVALID", message }),
    };
    match create(app, account, new).await {
        Ok(contact) => Ok(RowVerdict::Created(contact.id)),
        Err(Failure::Fault(fault)) => Err(fault),
        Err(Failure::Refused(refusal)) => Ok(RowVerdict::Refused {
            code: refusal.code.into(),
            message: refusal.message.into_owned(),
        }),
    }
}

async fn create(
    app: &App,
    account: &account::Model,
    new: NewContact,
) -> Result<contact::Model, Failure<CreateContactRefusal>> {
    let checked = check(new)?;
    let owner = AccountIds::from(account);
    let txn = app.db.begin_write().await?;
    let begun = Instant::now();
    let created = insert(app, &txn, owner, checked).await?;
    txn.commit().await?;
    pause_after(begun.elapsed()).await;
    Ok(created)
}

/// Returns a page of the account's contacts as CSV rows, newest first, and the cursor of the next page.
pub async fn export(
    app: &App,
    _operator: &OperatorCaller,
    account: &account::Model,
    after: Option<String>,
) -> Result<(Vec<Vec<String>>, Option<String>), Fault> {
    let page = PageArgs { first: i32::try_from(PAGE_MAX).ok(), after, ..PageArgs::default() };
    let owner = AccountIds::from(account);
    let contacts = list_of(app, owner, &ContactFilter::default(), &page).await?;
    let next = contacts.rows.last().filter(|_| contacts.has_next);
    let next = next.map(|(cursor, _)| cursor.to_string());
    let ids: Vec<Uuid> = contacts.rows.iter().map(|(_, contact)| contact.id).collect();
    let addresses = addresses_of(app, owner, &ids).await?;
    let tags = tags_of(app, owner, &ids).await?;
    let rows = contacts.rows.into_iter().map(|(_, contact)| {
        let addresses = addresses.get(&contact.id).map_or(&[][..], Vec::as_slice);
        let tags = tags.get(&contact.id).map(|tags| tags.join("\n")).unwrap_or_default();
        cells_of(contact, &tags, addresses)
    });
    Ok((rows.collect(), next))
}

fn cells_of(
    contact: contact::Model,
    tags: &str,
    addresses: &[contact_address::Model],
) -> Vec<String> {
    let text = |text: Option<String>| escape_formula(&text.unwrap_or_default());
    let mut cells = vec![
        text(contact.display_name),
        text(contact.locale),
        text(contact.time_zone),
        escape_formula(tags),
        text(contact.metadata),
    ];
    cells.extend(CHANNELS.map(|(_, channel)| {
        let of_channel = addresses.iter().filter(|address| address.channel == channel);
        let lines: Vec<String> = of_channel.map(line_of).collect();
        // Phone numbers and usernames are not escaped: the text after their + or @ is not a formula.
        let cell = lines.join("\n");
        if channel == Channel::Email { escape_formula(&cell) } else { cell }
    }));
    cells
}

fn line_of(address: &contact_address::Model) -> String {
    match &address.label {
        None => address.address.clone(),
        Some(label) => format!("{} #{label}", address.address),
    }
}

/// Puts an apostrophe before text that a spreadsheet would execute as a formula.
fn escape_formula(text: &str) -> String {
    if is_formula(text) { format!("'{text}") } else { text.to_owned() }
}

fn unescape_formula(text: &str) -> &str {
    text.strip_prefix('\'').filter(|text| is_formula(text)).unwrap_or(text)
}

fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(['=', '+', '-', '@'])
}
