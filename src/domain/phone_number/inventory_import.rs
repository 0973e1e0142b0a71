//! Imports phone numbers into the inventory from a CSV file. The whole file is checked first, and all problems are
//! reported by line. Then the changes are shown, and finally written in batches. An interrupted import can be repeated.
//!
//! Numbers that are not in the file are kept, unlike prices. Numbers are acquired in lots, and a file with the newest
//! lot must not withdraw the numbers of other lots.

use std::{collections::HashMap, io::Read};

use chrono::{DateTime, Utc};
use entity::{
    audit_entry::AuditAction,
    inventory_number::{self, Column, Entity},
    phone_number::PhoneNumberType,
};
use sea_orm::{
    ActiveEnum, DatabaseTransaction, EntityTrait, IntoActiveModel, Iterable, sea_query::OnConflict,
};

use serde_json::json;
use tokio::time::Instant;

use super::normalised;
use crate::{
    app::App,
    domain::{
        Fault,
        api_key::authentication::begin_as_operator,
        audit_log::{Entry, Settings},
        caller::OperatorCaller,
        csv_file::{self, ListFormat, shown},
        import_pace::pause_after,
    },
    money::Micros,
};

/// The columns of the file, in any order; other columns are ignored. Prices are in cents.
pub const COLUMNS: [&str; 6] =
    ["number", "country", "type", "capabilities", "upfront_cents", "monthly_cents"];
/// Maximum number of phone numbers in a file.
pub const ROWS_MAX: usize = 100_000;
/// Number of rows per transaction. One statement writes all rows of a batch, so the number is limited by the databases'
/// maximum number of parameters.
const ROWS_PER_BATCH: usize = 500;

/// One row of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockRow {
    pub number: String,
    pub country: String,
    pub number_type: PhoneNumberType,
    pub has_sms: bool,
    pub has_whatsapp: bool,
    pub upfront_price: Micros,
    pub monthly_price: Micros,
}

/// The changes that an import would make, ordered by number.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StockDiff {
    pub added: Vec<StockRow>,
    /// The old row and the new row of each changed number.
    pub changed: Vec<(StockRow, StockRow)>,
    pub unchanged: usize,
}

impl From<&inventory_number::Model> for StockRow {
    fn from(row: &inventory_number::Model) -> Self {
        Self {
            number: row.number.clone(),
            country: row.country.clone(),
            number_type: row.number_type,
            has_sms: row.has_sms,
            has_whatsapp: row.has_whatsapp,
            upfront_price: Micros::from_db(row.upfront_price_micros),
            monthly_price: Micros::from_db(row.monthly_price_micros),
        }
    }
}

/// Reads a file. Returns all problems, each with its line number.
pub fn read_csv(file: impl Read) -> Result<Vec<StockRow>, Vec<String>> {
    let format = ListFormat {
        columns: COLUMNS,
        rows_max: ROWS_MAX,
        too_many: format!("the file has more than {ROWS_MAX} numbers; split it"),
        key: "number",
        no_rows: "the file has no numbers",
    };
    let mut rows = format.read(file, read_row, |row| row.number.clone())?;
    // Rows are later locked in this order.
    rows.sort_by(|one, other| one.number.cmp(&other.number));
    Ok(rows)
}

fn read_row(cells: [&str; COLUMNS.len()]) -> Result<StockRow, String> {
    let [number, country, number_type, capabilities, upfront, monthly] = cells;
    let number = normalised(number).ok_or_else(|| {
        format!("{} is not a valid number (expected E.164, such as +12025550123)", shown(number))
    })?;
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        let country = shown(country);
        return Err(format!(
            "{country} is not a country code (expected two capital letters, such as US)"
        ));
    }
    let number_type =
        PhoneNumberType::iter().find(|known| known.to_value() == number_type).ok_or_else(|| {
            let number_type = shown(number_type);
            format!(
                "{number_type} is not a valid type (expected LOCAL, NATIONAL, MOBILE or TOLL_FREE)"
            )
        })?;
    let (mut has_sms, mut has_whatsapp) = (false, false);
    for capability in capabilities.split_whitespace() {
        match capability {
            "SMS" => has_sms = true,
            "WHATSAPP" => has_whatsapp = true,
            _ => {
                let capability = shown(capability);
                return Err(format!(
                    "{capability} is not a valid capability (expected SMS or WHATSAPP)"
                ));
            }
        }
    }
    if !has_sms && !has_whatsapp {
        return Err("capabilities is empty (expected SMS, WHATSAPP, or both separated by a space)"
            .to_owned());
    }
    Ok(StockRow {
        number,
        country: country.to_owned(),
        number_type,
        has_sms,
        has_whatsapp,
        upfront_price: csv_file::price("upfront_cents", upfront)?,
        monthly_price: csv_file::price("monthly_cents", monthly)?,
    })
}

/// Returns the changes that importing `rows` would make.
pub async fn diff(app: &App, rows: Vec<StockRow>) -> Result<StockDiff, Fault> {
    let mut old: HashMap<String, inventory_number::Model> = Entity::find()
        .all(&app.db.read)
        .await?
        .into_iter()
        .map(|row| (row.number.clone(), row))
        .collect();
    let mut diff = StockDiff::default();
    for row in rows {
        match old.remove(&row.number).filter(|old| !old.is_withdrawn) {
            None => diff.added.push(row),
            Some(old) if StockRow::from(&old) == row => diff.unchanged += 1,
            Some(old) => diff.changed.push(((&old).into(), row)),
        }
    }
    Ok(diff)
}

/// Writes the changes; the first batch also writes the audit log entry. Accounts keep the prices of the numbers that
/// they already have. A withdrawn number in the file becomes available again.
pub async fn commit(app: &App, operator: &OperatorCaller, diff: StockDiff) -> Result<(), Fault> {
    let now = app.clock.now();
    let counts = Settings::from([
        ("added", json!(diff.added.len())),
        ("changed", json!(diff.changed.len())),
    ]);
    let changed = diff.changed.into_iter().map(|(_, row)| row);
    let mut rows: Vec<StockRow> = diff.added.into_iter().chain(changed).collect();
    rows.sort_by(|one, other| one.number.cmp(&other.number));
    let (first, others) = rows.split_at(rows.len().min(ROWS_PER_BATCH));
    let txn = begin_as_operator(app, operator).await?;
    let begun = Instant::now();
    write(&txn, first, now).await?;
    txn.commit(app, Entry::of(AuditAction::ImportPhoneNumbers, None).made(counts)).await?;
    pause_after(begun.elapsed()).await;
    for rows in others.chunks(ROWS_PER_BATCH) {
        let txn = app.db.begin_write_in_slot(operator).await?;
        let begun = Instant::now();
        write(&txn, rows, now).await?;
        txn.commit().await?;
        pause_after(begun.elapsed()).await;
    }
    Ok(())
}

async fn write(
    txn: &DatabaseTransaction,
    rows: &[StockRow],
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = rows.iter().map(|row| {
        let row = inventory_number::Model {
            number: row.number.clone(),
            country: row.country.clone(),
            number_type: row.number_type,
            has_sms: row.has_sms,
            has_whatsapp: row.has_whatsapp,
            upfront_price_micros: row.upfront_price.get(),
            monthly_price_micros: row.monthly_price.get(),
            is_withdrawn: false,
            phone_number_id: None,
            updated_at: now,
        };
        row.into_active_model()
    });
    // The assignment of a number to an account is not changed.
    let replace = OnConflict::column(Column::Number)
        .update_columns([
            Column::Country,
            Column::NumberType,
            Column::HasSms,
            Column::HasWhatsapp,
            Column::UpfrontPriceMicros,
            Column::MonthlyPriceMicros,
            Column::IsWithdrawn,
            Column::UpdatedAt,
        ])
        .to_owned();
    Entity::insert_many(rows).on_conflict(replace).exec_without_returning(txn).await?;
    Ok(())
}
