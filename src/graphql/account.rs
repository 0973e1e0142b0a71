//! Accounts as any key sees them: its own, and those that its role lets it reach.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use entity::account as rows;

use super::{
    access::{self, ContextExt, RoleGuard},
    api_key::ApiKey,
    billing::usage::{Usage, UsageDimension},
    connection::{List, list, page_args},
    enums::{AccountStatus, BlockReason},
    input::DateRange,
    loaders::{KeysOf, TeamId, UsageOf},
    message::quiet_hours::QuietHours,
    scalars::{CURRENCY, Cents, DateTime, JsonObject},
    team::Team,
};
use crate::domain::{
    self, Fault,
    account::{BalanceView, blocked_by, remaining_credit, stored, total_spent},
};

/// GraphQL's `Account`, described there.
pub struct Account(pub rows::Model);

/// An account of a team: its one main account, or one of its sub-accounts. Each is an isolated
/// messaging environment with keys, messages and usage of its own.
#[Object]
impl Account {
    /// The account's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The name that the account was given.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// False for the team's one main account.
    async fn is_sub_account(&self) -> bool {
        self.0.is_sub_account
    }

    /// What the account may do. A main account is always ACTIVE.
    async fn status(&self) -> AccountStatus {
        self.0.status.into()
    }

    /// Why the account was suspended or deactivated, if a reason was given.
    async fn status_reason(&self) -> Option<&str> {
        self.0.status_reason.as_deref()
    }

    /// When the status last changed; null if it never did.
    async fn status_changed_at(&self) -> Option<DateTime> {
        self.0.status_changed_at.map(DateTime)
    }

    /// The spending cap in cents. Null: no limit; 0: nothing may be spent. A send is refused when
    /// totalSpent has reached it, so the message that crosses it still goes out. Always null on a
    /// main account.
    async fn credit_limit(&self) -> Option<Cents> {
        self.0.credit_limit_micros.map(|limit| stored(limit).into())
    }

    /// The running total of all charges in cents, refunds taken off; it never resets. Null on a
    /// main account.
    async fn total_spent(&self) -> Option<Cents> {
        total_spent(&self.0).map(Cents::from)
    }

    /// creditLimit less totalSpent in cents, not below 0; null without a limit.
    async fn remaining_credit(&self) -> Option<Cents> {
        remaining_credit(&self.0).map(Cents::from)
    }

    /// Whether sends are refused now: blockedBy is not empty.
    async fn is_blocked(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(!self.reasons(ctx).await?.is_empty())
    }

    /// Every reason why sends are refused now. A single send can be refused for other reasons too,
    /// such as a cost above the balance: see messageQuote.
    async fn blocked_by(&self, ctx: &Context<'_>) -> Result<Vec<BlockReason>> {
        Ok(self.reasons(ctx).await?.into_iter().map(BlockReason::from).collect())
    }

    /// The part of the day in which its messages are not handed over; null for none.
    async fn quiet_hours(&self) -> Option<QuietHours> {
        domain::message::quiet_hours::QuietHours::of(&self.0).map(QuietHours::from)
    }

    /// What the account sent and spent, from daily rollups of LIVE messages.
    async fn usage(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The days to sum, UTC, at most 366; this month so far if left out.")]
        range: Option<DateRange>,
        #[graphql(
            desc = "What to break the sums down by, into at most 10,000 buckets, those of all accounts of a page \
                    together."
        )]
        group_by: Option<Vec<UsageDimension>>,
    ) -> Result<Usage> {
        let question = UsageOf {
            account_id: self.0.id,
            range: range.map(Into::into),
            group_by: domain_dimensions(group_by),
        };
        let usage = ctx.rows()?.load_one(question).await?;
        Ok(Usage(usage.ok_or(Fault::Broken("usage answers every account asked for"))??))
    }

    /// Your own id for the sub-account, unique in the team; it serves wherever an id of a
    /// sub-account does. Main-account keys only.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// Your own data about the sub-account, at most 16 KiB of JSON. Main-account keys only.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn metadata(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.metadata.as_deref(), ctx.reservation()?)?)
    }

    /// Whether the sub-account's keys see the team's balance. Main-account keys only.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn team_balance_visible(&self) -> bool {
        self.0.team_balance_visible
    }

    /// The account's keys, newest first, revoked ones too, never in full. Main-account keys only.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn api_keys(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<ApiKey>> {
        let page = page_args(ctx, first, after, last, before)?;
        let page = ctx.rows()?.load_one(KeysOf { account_id: self.0.id, page }).await?;
        let page =
            page.ok_or(Fault::Broken("a page of keys answers every account asked for"))??;
        Ok(list(page, ApiKey))
    }

    /// When the account was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the account, its totals among it, last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

impl Account {
    async fn reasons(&self, ctx: &Context<'_>) -> Result<Vec<domain::account::BlockReason>> {
        let team = ctx.rows()?.load_one(TeamId(self.0.team_id)).await?;
        let team = team.ok_or(Fault::Broken("an account's team exists"))?;
        Ok(blocked_by(&self.0, stored(team.balance_micros)))
    }
}

/// Dimensions as the domain has them, each once.
pub fn domain_dimensions(
    group_by: Option<Vec<UsageDimension>>,
) -> Vec<domain::billing::usage::UsageDimension> {
    let mut dimensions: Vec<domain::billing::usage::UsageDimension> =
        group_by.unwrap_or_default().into_iter().map(Into::into).collect();
    dimensions.sort_unstable();
    dimensions.dedup();
    dimensions
}

/// What the money looks like from the key in use.
#[derive(SimpleObject)]
pub struct Balance {
    /// The team's balance in cents: every account draws from it. Null where the main account hides
    /// it from its sub-accounts.
    balance: Option<Cents>,
    /// The currency of all amounts: USD.
    currency: &'static str,
    /// Whether the key belongs to a sub-account.
    is_sub_account: bool,
    /// The sub-account's running total of charges in cents; null for a main account.
    total_spent: Option<Cents>,
    /// The sub-account's spending cap in cents; null without one, and for a main account.
    credit_limit: Option<Cents>,
}

impl From<BalanceView> for Balance {
    fn from(view: BalanceView) -> Self {
        Self {
            balance: view.balance.map(Cents::from),
            currency: CURRENCY,
            is_sub_account: view.is_sub_account,
            total_spent: view.total_spent.map(Cents::from),
            credit_limit: view.credit_limit.map(Cents::from),
        }
    }
}

#[derive(Default)]
pub struct AccountQuery;

#[Object]
impl AccountQuery {
    /// The team of the key in use; null for operator keys.
    async fn team(&self, ctx: &Context<'_>) -> Result<Option<Team>> {
        match ctx.account() {
            Ok(caller) => Ok(Some(Team(domain::account::own_team(ctx.app()?, &caller).await?))),
            Err(_) => Ok(None),
        }
    }

    /// The account that the key in use belongs to; null for operator keys.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        match ctx.account() {
            Ok(caller) => Ok(Some(Account(domain::account::own(ctx.app()?, &caller).await?))),
            Err(_) => Ok(None),
        }
    }

    /// What the money looks like from the key in use; null for operator keys.
    async fn balance(&self, ctx: &Context<'_>) -> Result<Option<Balance>> {
        let Ok(caller) = ctx.account() else {
            return Ok(None);
        };
        Ok(Some(domain::account::balance(ctx.app()?, &caller).await?.into()))
    }
}
