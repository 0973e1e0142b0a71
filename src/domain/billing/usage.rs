//! Usage: daily counters of LIVE messages and of phone number fees. Counters are updated in the transaction of the
//! counted event. A query sums up the counters, so its cost does not grow with the number of messages. Each event is
//! counted on the UTC day on which it happens. So a past day never changes, and the `spent` of a day may be negative.
//! Fees have no channel: they are part of `charged` in a slot without a channel.

use std::collections::HashMap;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use entity::{message::Channel, usage_day};
use futures_util::TryStreamExt as _;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, ExprTrait, FromQueryResult, QueryFilter,
    QueryOrder, QuerySelect, Select,
    sea_query::{Expr, SimpleExpr},
};
use uuid::Uuid;

use crate::{
    app::App,
    db::Readers,
    domain::{
        Fault, bad_input,
        caller::{Caller, TeamCaller},
    },
    limits::memory_budget::Reservation,
    money::Micros,
};

/// The columns of `usage_day` that are summed to compute usage.
pub(super) const FIGURES: [usage_day::Column; 6] = [
    usage_day::Column::Messages,
    usage_day::Column::Segments,
    usage_day::Column::Delivered,
    usage_day::Column::Failed,
    usage_day::Column::ChargedMicros,
    usage_day::Column::RefundedMicros,
];

/// Maximum number of days in a range.
pub const RANGE_DAYS_MAX: i64 = 366;
/// Maximum number of buckets that one statement reads, for all requested accounts in total.
pub const BUCKETS_MAX: usize = 10_000;
/// Approximate memory of a bucket during a request, as a database row and as a result.
pub const BUCKET_BYTES: usize = 512;

const TOO_MANY_BUCKETS: &str = "The usage of all listed accounts has more than 10000 buckets. Request a shorter range, \
                                fewer accounts or fewer dimensions.";

/// A range of UTC days, including its first and last day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DateRange {
    pub from: NaiveDate,
    pub to: NaiveDate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UsageDimension {
    Day,
    Month,
    Channel,
    Country,
    Account,
}

/// Sums over a bucket or a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub messages: i64,
    pub segments: i64,
    pub delivered: i64,
    pub failed: i64,
    pub charged_micros: i64,
    pub refunded_micros: i64,
}

/// The sums for one combination of values of the requested dimensions. The other dimensions are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub day: Option<NaiveDate>,
    /// The month in the format `YYYY-MM`.
    pub month: Option<String>,
    /// `None` also in the bucket with the phone number fees.
    pub channel: Option<Channel>,
    /// `None` also if the channel has no countries.
    pub country: Option<String>,
    pub account_id: Option<Uuid>,
    pub figures: Figures,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    pub range: DateRange,
    pub totals: Figures,
    pub buckets: Vec<Bucket>,
}

impl DateRange {
    /// Checks a range. Without a range, returns the range from the first day of the current month until today.
    pub fn checked(range: Option<Self>, now: DateTime<Utc>) -> Result<Self, Fault> {
        let today = now.date_naive();
        let range = range.unwrap_or(Self {
            from: today.with_day(1).expect("every month has a first day"),
            to: today,
        });
        let days = (range.to - range.from).num_days() + 1;
        if days < 1 {
            return Err(bad_input("The range must not end before it begins."));
        }
        if days > RANGE_DAYS_MAX {
            return Err(bad_input("The range must be at most 366 days."));
        }
        Ok(range)
    }
}

impl Figures {
    /// # Errors
    /// The sum exceeds the maximum amount. Many charges and refunds can have such a sum.
    pub fn charged(&self) -> Result<Micros, Fault> {
        amount(self.charged_micros)
    }

    pub fn refunded(&self) -> Result<Micros, Fault> {
        amount(self.refunded_micros)
    }

    /// Returns the charges minus the refunds.
    pub fn spent(&self) -> Result<Micros, Fault> {
        amount(self.charged_micros - self.refunded_micros)
    }

    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.segments += other.segments;
        self.delivered += other.delivered;
        self.failed += other.failed;
        self.charged_micros += other.charged_micros;
        self.refunded_micros += other.refunded_micros;
    }
}

fn amount(micros: i64) -> Result<Micros, Fault> {
    let message = "A sum exceeds 100000000000 cents. Request a shorter range.";
    Micros::new(micros).ok_or_else(|| bad_input(message))
}

/// Returns the usage of a whole team.
pub async fn of_team(
    app: &App,
    team: &TeamCaller,
    range: Option<DateRange>,
    group_by: &[UsageDimension],
    reservation: &Reservation,
) -> Result<Usage, Fault> {
    let range = DateRange::checked(range, app.clock.now())?;
    let readers = app.read_as(team);
    let select = usage_day::Entity::of_team(team.team_id());
    let rows =
        read(&readers, summed(&readers, select, range, group_by, false), reservation).await?;
    Ok(collect(range, group_by, rows))
}

/// Returns the usage of several accounts that the caller may see. All of it is read by one statement.
pub async fn of_accounts(
    app: &App,
    caller: &Caller,
    accounts: &[Uuid],
    range: Option<DateRange>,
    group_by: &[UsageDimension],
    reservation: &Reservation,
) -> Result<HashMap<Uuid, Usage>, Fault> {
    let range = DateRange::checked(range, app.clock.now())?;
    let select = usage_day::Entity::find()
        .filter(usage_day::Column::AccountId.is_in(accounts.iter().copied()));
    let readers = app.read_as(caller);
    let rows = read(&readers, summed(&readers, select, range, group_by, true), reservation).await?;
    let mut by_account: HashMap<Uuid, Vec<SummedRow>> = HashMap::new();
    for row in rows {
        if let Some(account_id) = row.account_id {
            by_account.entry(account_id).or_default().push(row);
        }
    }
    let usage_of = |id: &Uuid| {
        let rows = by_account.remove(id).unwrap_or_default();
        (*id, collect(range, group_by, rows))
    };
    Ok(accounts.iter().map(usage_of).collect())
}

/// Reads at most [`BUCKETS_MAX`] sums row by row, and reserves memory for each sum.
async fn read(
    readers: &Readers,
    select: Select<usage_day::Entity>,
    reservation: &Reservation,
) -> Result<Vec<SummedRow>, Fault> {
    let select = select.limit(BUCKETS_MAX as u64 + 1).into_model::<SummedRow>();
    let mut stream = select.stream(readers).await?;
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        if rows.len() == BUCKETS_MAX {
            return Err(bad_input(TOO_MANY_BUCKETS));
        }
        reservation.take(BUCKET_BYTES)?;
        rows.push(row);
    }
    Ok(rows)
}

#[derive(FromQueryResult)]
struct SummedRow {
    day: Option<NaiveDate>,
    month: Option<String>,
    channel: Option<Channel>,
    country: Option<String>,
    account_id: Option<Uuid>,
    messages: i64,
    segments: i64,
    delivered: i64,
    failed: i64,
    charged_micros: i64,
    refunded_micros: i64,
}

/// Selects the sums by the requested dimensions as [`SummedRow`]s, and also by account if `by_account` is set.
fn summed<C: ConnectionTrait>(
    db: &C,
    select: Select<usage_day::Entity>,
    range: DateRange,
    group_by: &[UsageDimension],
    by_account: bool,
) -> Select<usage_day::Entity> {
    use usage_day::Column;
    let mut select =
        select.select_only().filter(Column::Day.gte(range.from)).filter(Column::Day.lte(range.to));
    let month = || month_of_day(db.get_database_backend());
    let channel = || Expr::cust("NULLIF(channel, '')");
    let dimensions: [(UsageDimension, &str, SimpleExpr); 5] = [
        (UsageDimension::Day, "day", Expr::col(Column::Day)),
        (UsageDimension::Month, "month", month()),
        (UsageDimension::Channel, "channel", channel()),
        (UsageDimension::Country, "country", Expr::col(Column::Country)),
        (UsageDimension::Account, "account_id", Expr::col(Column::AccountId)),
    ];
    for (dimension, name, expression) in dimensions {
        if group_by.contains(&dimension) || (by_account && dimension == UsageDimension::Account) {
            select = select.column_as(expression.clone(), name).group_by(expression);
        }
    }
    for column in FIGURES {
        let sum = Expr::col(column).sum().cast_as("BIGINT");
        select = select.column_as(sum.if_null(0_i64), sea_orm::IdenStatic::as_str(&column));
    }
    select
}

fn month_of_day(backend: DbBackend) -> SimpleExpr {
    match backend {
        DbBackend::Postgres => Expr::cust("to_char(day, 'YYYY-MM')"),
        _ => Expr::cust("substr(day, 1, 7)"),
    }
}

fn collect(range: DateRange, group_by: &[UsageDimension], rows: Vec<SummedRow>) -> Usage {
    let mut totals = Figures::default();
    let mut buckets: Vec<Bucket> = rows
        .into_iter()
        .map(|row| {
            let figures = Figures {
                messages: row.messages,
                segments: row.segments,
                delivered: row.delivered,
                failed: row.failed,
                charged_micros: row.charged_micros,
                refunded_micros: row.refunded_micros,
            };
            totals.add(&figures);
            let wants_account = group_by.contains(&UsageDimension::Account);
            Bucket {
                day: row.day,
                month: row.month,
                channel: row.channel,
                country: row.country.filter(|country| !country.is_empty()),
                account_id: row.account_id.filter(|_| wants_account),
                figures,
            }
        })
        .collect();
    if group_by.is_empty() {
        buckets.clear();
    }
    let order = |bucket: &Bucket| {
        let country = bucket.country.clone();
        (bucket.day, bucket.month.clone(), bucket.channel, country, bucket.account_id)
    };
    buckets.sort_by_key(order);
    Usage { range, totals, buckets }
}

/// An account's line in a usage export.
pub struct ExportLine {
    pub account: entity::account::Model,
    pub figures: Figures,
    number_fees_micros: i64,
}

impl ExportLine {
    /// Returns the phone number fees. They are part of the charges.
    pub fn number_fees(&self) -> Result<Micros, Fault> {
        amount(self.number_fees_micros)
    }
}

/// Returns all sub-accounts of one team or of all teams with their figures in the range, oldest account first. If
/// `with_main_accounts` is set, main accounts are included.
pub async fn export(
    app: &App,
    team_id: Option<Uuid>,
    range: DateRange,
    with_main_accounts: bool,
) -> Result<Vec<ExportLine>, Fault> {
    use entity::account;
    let range = DateRange::checked(Some(range), app.clock.now())?;
    let mut accounts = account::Entity::find();
    if !with_main_accounts {
        accounts = accounts.filter(account::Column::IsSubAccount.eq(true));
    }
    let mut days = usage_day::Entity::find();
    if let Some(team_id) = team_id {
        accounts = accounts.filter(account::Column::TeamId.eq(team_id));
        days = days.filter(usage_day::Column::TeamId.eq(team_id));
    }
    // This reads a snapshot of all teams, without the deadline of a request.
    let txn = app.db.read.snapshot().await?;
    let rows = summed(&txn, days, range, &[UsageDimension::Channel], true);
    let rows = rows.into_model::<SummedRow>().all(&txn).await?;
    let mut by_account: HashMap<Uuid, Vec<SummedRow>> = HashMap::new();
    for row in rows {
        by_account.entry(row.account_id.unwrap_or_default()).or_default().push(row);
    }
    let accounts = accounts.order_by_asc(account::Column::Id).all(&txn).await?;
    txn.end().await?;
    accounts
        .into_iter()
        .map(|account| {
            let rows = by_account.remove(&account.id).unwrap_or_default();
            let usage = collect(range, &[UsageDimension::Channel], rows);
            let fees = usage.buckets.iter().filter(|bucket| bucket.channel.is_none());
            let number_fees_micros = fees.map(|bucket| bucket.figures.charged_micros).sum();
            Ok(ExportLine { account, figures: usage.totals, number_fees_micros })
        })
        .collect()
}
