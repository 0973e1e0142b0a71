//! Replaces the price list with a CSV file. The whole file is read first, and its problems are reported by line. Then
//! the differences are shown, and finally written in one transaction.

use std::{collections::BTreeMap, io::Read};

use entity::{audit_entry::AuditAction, message::Channel, price};
use sea_orm::{
    ActiveEnum, ActiveValue::Set, ColumnTrait, EntityTrait, Iterable, QueryFilter,
    sea_query::OnConflict,
};

use serde_json::json;

use crate::{
    app::App,
    domain::{
        Fault,
        api_key::authentication::begin_as_operator,
        audit_log::{Entry, Settings},
        caller::OperatorCaller,
        csv_file::{self, ListFormat, shown},
    },
    money::Micros,
};

/// The columns of the file, in any order. Prices are in cents. They are per segment for SMS and per message for other
/// channels.
pub const COLUMNS: [&str; 4] = ["channel", "prefix", "country", "price_cents"];
/// Maximum number of prices in a list. A list of all dial prefixes worldwide has about ten thousand.
pub const ROWS_MAX: usize = 100_000;
const PREFIX_DIGITS_MAX: usize = 15;
/// Number of rows that one statement writes, well below the parameter limits of both databases.
const ROWS_PER_STATEMENT: usize = 500;

/// One row of a price list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceRow {
    pub channel: Channel,
    pub prefix: String,
    pub country: Option<String>,
    pub price: Micros,
}

/// The changes that an import would make.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PriceDiff {
    pub added: Vec<PriceRow>,
    /// The old price and the new row of each changed price.
    pub changed: Vec<(Micros, PriceRow)>,
    pub removed: Vec<PriceRow>,
}

impl PriceDiff {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Reads a price list.
///
/// # Errors
/// All problems in the file, each with its line number.
pub fn read_csv(file: impl Read) -> Result<Vec<PriceRow>, Vec<String>> {
    let format = ListFormat {
        columns: COLUMNS,
        rows_max: ROWS_MAX,
        too_many: format!("the list has more than {ROWS_MAX} prices"),
        key: "channel and prefix",
        no_rows: "the file has no prices (messages without a price cannot be sent)",
    };
    format.read(file, read_row, |row| (row.channel, row.prefix.clone()))
}

fn read_row(cells: [&str; COLUMNS.len()]) -> Result<PriceRow, String> {
    let [channel, prefix, country, price] = cells;
    let channel =
        Channel::iter().find(|candidate| candidate.to_value() == channel).ok_or_else(|| {
            format!(
                "{} is not a channel (expected SMS, EMAIL, WHATSAPP or TELEGRAM)",
                shown(channel)
            )
        })?;
    let has_numbers = matches!(channel, Channel::Sms | Channel::Whatsapp);
    let is_prefix = prefix.len() <= PREFIX_DIGITS_MAX
        && prefix.bytes().all(|byte| byte.is_ascii_digit())
        && !prefix.starts_with('0');
    if !is_prefix {
        let prefix = shown(prefix);
        return Err(format!(
            "{prefix} is not a dial prefix (expected digits without + or a leading 0, or empty)"
        ));
    }
    if !has_numbers && !prefix.is_empty() {
        return Err("only SMS and WHATSAPP have dial prefixes; leave the prefix empty".to_owned());
    }
    let is_country = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    if !country.is_empty() && !is_country {
        let country = shown(country);
        return Err(format!(
            "{country} is not a country code (expected two capital letters, or empty)"
        ));
    }
    let price = csv_file::price("price_cents", price)?;
    let country = (!country.is_empty()).then(|| country.to_owned());
    Ok(PriceRow { channel, prefix: prefix.to_owned(), country, price })
}

/// Returns the changes that importing `rows` as the whole price list would make.
pub async fn diff(app: &App, rows: &[PriceRow]) -> Result<PriceDiff, Fault> {
    let key = |channel: Channel, prefix: &str| (channel.to_value(), prefix.to_owned());
    let mut old: BTreeMap<_, _> = super::price::list(app)
        .await?
        .into_iter()
        .map(|row| (key(row.channel, &row.prefix), row))
        .collect();
    let mut diff = PriceDiff::default();
    for row in rows {
        match old.remove(&key(row.channel, &row.prefix)) {
            None => diff.added.push(row.clone()),
            Some(old) => {
                let is_same = old.price_micros == row.price.get() && old.country == row.country;
                if !is_same {
                    diff.changed.push((Micros::from_db(old.price_micros), row.clone()));
                }
            }
        }
    }
    diff.removed = old
        .into_values()
        .map(|row| PriceRow {
            channel: row.channel,
            prefix: row.prefix,
            country: row.country,
            price: Micros::from_db(row.price_micros),
        })
        .collect();
    Ok(diff)
}

/// Writes the changes. The cost of accepted messages does not change.
pub async fn commit(app: &App, operator: &OperatorCaller, diff: PriceDiff) -> Result<(), Fault> {
    let now = app.clock.now();
    let counts = Settings::from([
        ("added", json!(diff.added.len())),
        ("changed", json!(diff.changed.len())),
        ("removed", json!(diff.removed.len())),
    ]);
    let written = diff.added.into_iter().chain(diff.changed.into_iter().map(|(_, row)| row));
    let written: Vec<_> = written
        .map(|row| price::ActiveModel {
            channel: Set(row.channel),
            prefix: Set(row.prefix),
            country: Set(row.country),
            price_micros: Set(row.price.get()),
            updated_at: Set(now),
        })
        .collect();
    let mut removed: BTreeMap<Channel, Vec<String>> = BTreeMap::new();
    for row in diff.removed {
        removed.entry(row.channel).or_default().push(row.prefix);
    }
    let replace = OnConflict::columns([price::Column::Channel, price::Column::Prefix])
        .update_columns([
            price::Column::Country,
            price::Column::PriceMicros,
            price::Column::UpdatedAt,
        ])
        .to_owned();
    // All changes are written in one transaction, so that no message is priced by a partly imported list.
    let txn = begin_as_operator(app, operator).await?;
    for rows in written.chunks(ROWS_PER_STATEMENT) {
        let insert = price::Entity::insert_many(rows.iter().cloned()).on_conflict(replace.clone());
        insert.exec_without_returning(&*txn).await?;
    }
    for (channel, prefixes) in removed {
        for prefixes in prefixes.chunks(ROWS_PER_STATEMENT) {
            price::Entity::delete_many()
                .filter(price::Column::Channel.eq(channel))
                .filter(price::Column::Prefix.is_in(prefixes))
                .exec(&*txn)
                .await?;
        }
    }
    txn.commit(app, Entry::of(AuditAction::ImportPrices, None).made(counts)).await?;
    app.prices.forget();
    Ok(())
}
