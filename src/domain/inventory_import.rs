//! Stocking the inventory of phone numbers from a CSV file: read it whole, say every problem by
//! line, show what would change, then do it in one transaction. Numbers that the file does not name
//! stay as they are.
//!
//! Why not the whole inventory at once, like the price list: numbers come in lots, and a file of
//! the newest lot must not take the others out of stock.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
};

use entity::{
    audit_entry::AuditAction,
    inventory_number::{self, Column, Entity},
    phone_number::PhoneNumberType,
};
use sea_orm::{ActiveEnum, EntityTrait, IntoActiveModel, Iterable, sea_query::OnConflict};

use serde_json::json;

use super::{
    Fault,
    account::stored,
    audit_log::{Entry, Settings},
    authentication::begin_as_operator,
    caller::OperatorCaller,
    phone_number::normalised,
};
use crate::{App, money::Micros};

/// The columns of the file, in any order; others are of no effect. Prices are cents.
pub const COLUMNS: [&str; 6] =
    ["number", "country", "type", "capabilities", "upfront_cents", "monthly_cents"];
/// Rows that one statement writes: well within what both databases take as parameters.
const ROWS_TOGETHER: usize = 500;

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

/// What an import would do, each list by number.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StockDiff {
    pub added: Vec<StockRow>,
    /// The row before, and the new one.
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
            upfront_price: stored(row.upfront_price_micros),
            monthly_price: stored(row.monthly_price_micros),
        }
    }
}

/// Reads a file; all problems at once, each with its line.
pub fn read_csv(file: impl Read) -> Result<Vec<StockRow>, Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let headers = reader.headers().map_err(|error| vec![error.to_string()])?.clone();
    let places = COLUMNS.map(|name| headers.iter().position(|header| header == name));
    if places.contains(&None) {
        return Err(vec![format!("the first line must name the columns {}", COLUMNS.join(","))]);
    }
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                problems.push(error.to_string());
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        let cells = places.map(|at| at.and_then(|at| record.get(at)).unwrap_or_default());
        match read_row(cells) {
            Ok(row) if !seen.insert(row.number.clone()) => {
                problems.push(format!("line {line}: this number stands twice"));
            }
            Ok(row) => rows.push(row),
            Err(problem) => problems.push(format!("line {line}: {problem}")),
        }
    }
    if rows.is_empty() && problems.is_empty() {
        problems.push("the file has no numbers".to_owned());
    }
    // In the order in which their rows are locked.
    rows.sort_by(|one, other| one.number.cmp(&other.number));
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

fn read_row(cells: [&str; COLUMNS.len()]) -> Result<StockRow, String> {
    let [number, country, number_type, capabilities, upfront, monthly] = cells;
    let number = normalised(number)
        .ok_or_else(|| format!("{number:?} is no number in E.164, such as +12025550123"))?;
    if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("{country:?} is no country: two capital letters"));
    }
    let number_type =
        PhoneNumberType::iter().find(|known| known.to_value() == number_type).ok_or_else(|| {
            format!("{number_type:?} is no type (LOCAL, NATIONAL, MOBILE, TOLL_FREE)")
        })?;
    let (mut has_sms, mut has_whatsapp) = (false, false);
    for capability in capabilities.split_whitespace() {
        match capability {
            "SMS" => has_sms = true,
            "WHATSAPP" => has_whatsapp = true,
            _ => return Err(format!("{capability:?} is no capability (SMS, WHATSAPP)")),
        }
    }
    if !has_sms && !has_whatsapp {
        return Err("a number has capabilities: SMS, WHATSAPP, or both with a space".to_owned());
    }
    let price = |column: &str, text: &str| {
        let price = Micros::from_cents_text(text).map_err(|error| format!("{column}: {error}"))?;
        if price < Micros::ZERO {
            return Err(format!("{column}: a price is not negative"));
        }
        Ok(price)
    };
    Ok(StockRow {
        number,
        country: country.to_owned(),
        number_type,
        has_sms,
        has_whatsapp,
        upfront_price: price("upfront_cents", upfront)?,
        monthly_price: price("monthly_cents", monthly)?,
    })
}

/// What importing `rows` would change.
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

/// Carries a diff out. Numbers that accounts have keep what they cost them; a withdrawn one that
/// the file names is in stock again.
pub async fn commit(app: &App, operator: &OperatorCaller, diff: StockDiff) -> Result<(), Fault> {
    let now = app.clock.now();
    let counts = Settings::from([
        ("added", json!(diff.added.len())),
        ("changed", json!(diff.changed.len())),
    ]);
    let changed = diff.changed.into_iter().map(|(_, row)| row);
    let mut rows: Vec<StockRow> = diff.added.into_iter().chain(changed).collect();
    rows.sort_by(|one, other| one.number.cmp(&other.number));
    let txn = begin_as_operator(app, operator).await?;
    for rows in rows.chunks(ROWS_TOGETHER) {
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
        // Who has a number stays as it is.
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
        Entity::insert_many(rows).on_conflict(replace).exec_without_returning(&txn).await?;
    }
    txn.commit(app, Entry::of(AuditAction::ImportPhoneNumbers, None).made(counts)).await?;
    Ok(())
}
