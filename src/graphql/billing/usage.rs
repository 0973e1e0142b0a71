//! Usage: what was sent and spent, from daily rollups.

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

/// About how much memory a value of an answer takes.
const VALUE_BYTES: usize = 100;

/// What usage can be broken down by.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::UsageDimension")]
pub enum UsageDimension {
    /// By UTC day.
    Day,
    /// By UTC month.
    Month,
    /// By channel; the fees of phone numbers are a bucket without one.
    Channel,
    /// By the country of phone numbers.
    Country,
    /// By account; the main account is one of the buckets. Main-account and operator keys only.
    #[graphql(visible = "access::team")]
    Account,
}

/// GraphQL's `Usage`, described there.
pub struct Usage(pub domain::Usage);

/// What was sent and spent over a range of days: LIVE messages, and the fees of phone numbers.
#[Object]
impl Usage {
    /// The first day of the range.
    async fn from(&self) -> Date {
        Date(self.0.range.from)
    }

    /// The last day of the range, included.
    async fn to(&self) -> Date {
        Date(self.0.range.to)
    }

    /// The sums over the whole range.
    async fn totals(&self) -> Result<UsageFigures> {
        UsageFigures::new(&self.0.totals)
    }

    /// The sums for each combination of groupBy that has any; empty without groupBy. At most 10,000,
    /// those of all accounts of a page together; an answer with many of them has room for fewer fields
    /// of each.
    async fn buckets(&self, ctx: &Context<'_>) -> Result<Vec<UsageBucket>> {
        let buckets = &self.0.buckets;
        // The estimate of a request's cost knows of ten buckets only.
        ctx.reservation()?.take(buckets.len() * (1 + values_in(ctx.field())) * VALUE_BYTES)?;
        Ok(buckets.iter().cloned().map(UsageBucket).collect())
    }
}

/// Values inside a field of the answer, with pages as long as they may become.
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

/// GraphQL's `UsageBucket`, described there.
pub struct UsageBucket(domain::Bucket);

/// The sums of one combination of groupBy.
#[Object]
impl UsageBucket {
    /// The UTC day; null unless grouped by DAY.
    async fn day(&self) -> Option<Date> {
        self.0.day.map(Date)
    }

    /// The UTC month as YYYY-MM; null unless grouped by MONTH.
    async fn month(&self) -> Option<&str> {
        self.0.month.as_deref()
    }

    /// The channel; null unless grouped by CHANNEL, and for the fees of phone numbers, which have
    /// none.
    async fn channel(&self) -> Option<Channel> {
        self.0.channel.map(Channel::from)
    }

    /// The country of the recipients, or of the phone numbers, as ISO 3166-1 alpha-2; null unless
    /// grouped by COUNTRY, and for channels without countries.
    async fn country(&self) -> Option<&str> {
        self.0.country.as_deref()
    }

    /// The account; null unless grouped by ACCOUNT.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        let Some(id) = self.0.account_id else {
            return Ok(None);
        };
        Ok(ctx.row(AccountId(id)).await?.map(Account))
    }

    /// The sums.
    async fn figures(&self) -> Result<UsageFigures> {
        UsageFigures::new(&self.0.figures)
    }
}

/// Sums. Each counts on the UTC day of its own event, so a past day never changes, and a day with
/// more refunds than charges has a negative spent.
#[derive(SimpleObject)]
pub struct UsageFigures {
    /// Messages accepted.
    messages: i32,
    /// Segments accepted; 1 a message for channels other than SMS.
    segments: i32,
    /// Messages reported delivered.
    delivered: i32,
    /// Messages that ended UNDELIVERED, FAILED, EXPIRED or CANCELED.
    failed: i32,
    /// Charges for messages and fees of phone numbers, in cents.
    charged: Cents,
    /// Refunds, in cents.
    refunded: Cents,
    /// charged less refunded, in cents.
    spent: Cents,
}

impl UsageFigures {
    fn new(figures: &domain::Figures) -> Result<Self> {
        let count = |figure: i64| {
            let message = "A count is larger than an Int can hold; narrow the range.";
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
