//! Usage: the number and cost of messages, computed from daily totals.

use async_graphql::{Context, Enum, Object, Result, SelectionField, SimpleObject, Value};

use crate::{
    domain::{bad_input, billing::usage as domain, page::PAGE_DEFAULT},
    graphql::{
        access::{self, ContextExt},
        account::Account,
        enums::Channel,
        loaders::AccountId,
        scalars::{Cents, Date},
    },
};

/// Approximate number of bytes that a value needs in a response.
pub const VALUE_BYTES: usize = 100;

/// Dimension by which usage is split.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::UsageDimension")]
pub enum UsageDimension {
    /// By day in UTC.
    Day,
    /// By month in UTC.
    Month,
    /// By channel. Phone number fees are in a bucket without a channel.
    Channel,
    /// By country. For messages, it is the country of the recipient's phone number; for phone
    /// number fees, the country of that number.
    Country,
    /// By account, including the main account. Requires a key of the main account or of an
    /// operator.
    #[graphql(visible = "access::team")]
    Account,
}

/// The GraphQL object `Usage`.
pub struct Usage(pub domain::Usage);

/// Number and cost of LIVE messages, and phone number fees, over a range of days.
#[Object]
impl Usage {
    /// First day of the range.
    async fn from(&self) -> Date {
        Date(self.0.range.from)
    }

    /// Last day of the range (inclusive).
    async fn to(&self) -> Date {
        Date(self.0.range.to)
    }

    /// Totals for the whole range.
    async fn totals(&self) -> Result<UsageFigures> {
        UsageFigures::new(&self.0.totals)
    }

    /// Totals for each combination of the groupBy dimensions, ordered by day, month, channel,
    /// country and account. Combinations without totals are omitted. Empty without groupBy. The
    /// maximum is 10,000 buckets in total for all accounts of a page. If there are many buckets,
    /// fewer fields of each can be selected, because the size of a response is limited.
    async fn buckets(&self, ctx: &Context<'_>) -> Result<Vec<UsageBucket>> {
        let buckets = &self.0.buckets;
        // The memory is reserved here, because the cost estimate of the document assumes only ten
        // buckets.
        ctx.reservation()?.take(buckets.len() * (1 + values_in(ctx.field())) * VALUE_BYTES)?;
        Ok(buckets.iter().cloned().map(UsageBucket).collect())
    }
}

/// Returns the number of values inside a field of the response, assuming that all pages are as long
/// as requested.
fn values_in(field: SelectionField<'_>) -> usize {
    let inside = field.selection_set().map(|field| 1 + values_in(field));
    let arguments = field.arguments().unwrap_or_default();
    let sizes = arguments.iter().filter_map(|(name, value)| match value {
        Value::Number(size) if name == "first" || name == "last" => size.as_u64(),
        _ => None,
    });
    let is_page = || field.selection_set().any(|field| matches!(field.name(), "nodes" | "edges"));
    let default = || if is_page() { PAGE_DEFAULT } else { 1 };
    let times = sizes.max().unwrap_or_else(default).max(1);
    inside.sum::<usize>().saturating_mul(usize::try_from(times).unwrap_or(usize::MAX))
}

/// The GraphQL object `UsageBucket`.
pub struct UsageBucket(domain::Bucket);

/// Totals for one combination of the groupBy dimensions.
#[Object]
impl UsageBucket {
    /// Day in UTC; null unless grouped by DAY.
    async fn day(&self) -> Option<Date> {
        self.0.day.map(Date)
    }

    /// Month in UTC as YYYY-MM; null unless grouped by MONTH.
    async fn month(&self) -> Option<&str> {
        self.0.month.as_deref()
    }

    /// Channel of the messages. Null for phone number fees, or if usage is not grouped by CHANNEL.
    async fn channel(&self) -> Option<Channel> {
        self.0.channel.map(Channel::from)
    }

    /// Country of the recipients, or of the phone numbers whose fees were charged, as an ISO 3166-1
    /// alpha-2 code. Null for channels without countries, or if usage is not grouped by COUNTRY.
    async fn country(&self) -> Option<&str> {
        self.0.country.as_deref()
    }

    /// Account of the messages and fees; null unless grouped by ACCOUNT.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        Ok(ctx.row(self.0.account_id.map(AccountId)).await?.map(Account))
    }

    /// Totals of the bucket.
    async fn figures(&self) -> Result<UsageFigures> {
        UsageFigures::new(&self.0.figures)
    }
}

/// Totals of messages and amounts. Each event counts on the UTC day on which it happened, so the
/// totals of past days never change, and spent is negative on a day with more refunds than charges.
#[derive(SimpleObject)]
pub struct UsageFigures {
    /// Number of messages that were accepted.
    messages: i32,
    /// Number of segments of the accepted messages. A message on a channel other than SMS counts as
    /// one segment.
    segments: i32,
    /// Number of messages that were reported as delivered.
    delivered: i32,
    /// Number of messages that ended as UNDELIVERED, FAILED, EXPIRED or CANCELED.
    failed: i32,
    /// Charges for messages and phone number fees, in cents.
    charged: Cents,
    /// Refunds, in cents.
    refunded: Cents,
    /// Difference between charged and refunded, in cents.
    spent: Cents,
}

impl UsageFigures {
    fn new(figures: &domain::Figures) -> Result<Self> {
        let count = |figure: i64| {
            let message = "A count does not fit into an Int. Request a shorter range.";
            i32::try_from(figure).map_err(|_| bad_input(message))
        };
        Ok(Self {
            messages: count(figures.messages)?,
            segments: count(figures.segments)?,
            delivered: count(figures.delivered)?,
            failed: count(figures.failed)?,
            charged: figures.charged()?.into(),
            refunded: figures.refunded()?.into(),
            spent: figures.spent()?.into(),
        })
    }
}
