//! Accounts, and the queries for the caller's own account.

use async_graphql::{Context, ID, Object, Result, SimpleObject};
use entity::account as rows;

use super::{
    access::{self, ContextExt, RoleGuard},
    api_key::ApiKey,
    billing::usage::{Usage, UsageDimension},
    connection::{List, list, page_args},
    enums::{AccountStatus, BlockReason},
    input::DateRange,
    loaders::{AccountId, KeysOf, TeamId, UsageOf},
    message::quiet_hours::QuietHours,
    scalars::{CURRENCY, Cents, DateTime, JsonObject},
    team::Team,
};
use crate::{
    domain::{
        self, Fault,
        account::{BalanceView, blocked_by, remaining_credit, total_spent},
    },
    money::Micros,
};

/// The GraphQL object `Account`.
pub struct Account(pub rows::Model);

/// An account of a team: its main account or one of its sub-accounts. Each account is isolated and
/// has its own keys, messages and usage.
#[Object]
impl Account {
    /// Id of the account.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Name of the account.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether the account is a sub-account. It is false for the team's main account.
    async fn is_sub_account(&self) -> bool {
        self.0.is_sub_account
    }

    /// Status of the account. A main account is always ACTIVE.
    async fn status(&self) -> AccountStatus {
        self.0.status.into()
    }

    /// Reason for the suspension or deactivation of the account; null if there is none.
    async fn status_reason(&self) -> Option<&str> {
        self.0.status_reason.as_deref()
    }

    /// When the status last changed; null if it has never changed.
    async fn status_changed_at(&self) -> Option<DateTime> {
        self.0.status_changed_at.map(DateTime)
    }

    /// Spending limit of the account in cents. Null means no limit, and 0 means that nothing can be
    /// spent. Messages are refused once totalSpent has reached the limit; the message that makes
    /// totalSpent exceed it is still sent. Always null for a main account.
    async fn credit_limit(&self) -> Option<Cents> {
        self.0.credit_limit_micros.map(|limit| Micros::from_db(limit).into())
    }

    /// Total of all charges of the sub-account minus its refunds, in cents. It is never reset. Null
    /// for a main account.
    async fn total_spent(&self) -> Option<Cents> {
        total_spent(&self.0).map(Cents::from)
    }

    /// Difference between creditLimit and totalSpent in cents, never below 0; null if there is no
    /// limit.
    async fn remaining_credit(&self) -> Option<Cents> {
        remaining_credit(&self.0).map(Cents::from)
    }

    /// Whether the account currently cannot send messages, that is, whether blockedBy is not empty.
    async fn is_blocked(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(!self.reasons(ctx).await?.is_empty())
    }

    /// All reasons why the account currently cannot send messages, in the order of the enum's
    /// values. A single message can be refused for other reasons, such as a cost above the balance;
    /// use messageQuote to check a message.
    async fn blocked_by(&self, ctx: &Context<'_>) -> Result<Vec<BlockReason>> {
        Ok(self.reasons(ctx).await?.into_iter().map(BlockReason::from).collect())
    }

    /// Time of day during which the account's messages are not sent; null if the account has no
    /// quiet hours.
    async fn quiet_hours(&self) -> Option<QuietHours> {
        domain::message::quiet_hours::QuietHours::of(&self.0).map(QuietHours::from)
    }

    /// Number and cost of the account's LIVE messages, and its phone number fees, computed from
    /// daily totals.
    async fn usage(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Range of UTC days to total (maximum 366 days; default: the current month \
                    up to today)."
        )]
        range: Option<DateRange>,
        #[graphql(desc = "Dimensions by which to split the totals (maximum 10,000 buckets in \
                    total for all accounts of a page). If omitted, there are no buckets.")]
        group_by: Option<Vec<UsageDimension>>,
    ) -> Result<Usage> {
        let question = UsageOf {
            account_id: self.0.id,
            range: range.map(Into::into),
            group_by: domain_dimensions(group_by),
        };
        let usage = ctx.load(Some(question)).await?;
        Ok(Usage(usage.ok_or(Fault::Broken("the usage of every requested account is known"))??))
    }

    /// Your own id for the sub-account, unique in the team; null if it has none. Arguments that
    /// refer to an account accept it instead of the id. Requires a key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// Your own data about the sub-account; null if there is none. Requires a key of the main
    /// account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn metadata(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.metadata.as_deref(), ctx.reservation()?)?)
    }

    /// Whether the sub-account's keys can read the team's balance. Requires a key of the main
    /// account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn team_balance_visible(&self) -> bool {
        self.0.team_balance_visible
    }

    /// API keys of the account, newest first, including revoked ones. The secrets of the keys are
    /// never shown. Requires a key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn api_keys(&self, ctx: &Context<'_>) -> Result<List<ApiKey>> {
        let keys = KeysOf { account_id: self.0.id, page: page_args(ctx)? };
        let page = ctx.load(Some(keys)).await?;
        let page = page.ok_or(Fault::Broken("every requested account has a page of keys"))??;
        Ok(list(page, ApiKey))
    }

    /// When the account was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the account or its totalSpent last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

impl Account {
    async fn reasons(&self, ctx: &Context<'_>) -> Result<Vec<domain::account::BlockReason>> {
        let team = ctx.load(Some(TeamId(self.0.team_id))).await?;
        let team = team.ok_or(Fault::Broken("an account's team exists"))?;
        Ok(blocked_by(&self.0, Micros::from_db(team.balance_micros)))
    }
}

/// Returns a balance of the team, or `None` if the main account hides it from the caller.
pub async fn balance_if_visible(ctx: &Context<'_>, micros: i64) -> Result<Option<Cents>> {
    let is_visible = match ctx.account() {
        Ok(caller) if caller.is_sub_account => {
            let own = ctx.row(Some(AccountId(caller.account_id))).await?;
            own.is_some_and(|own| own.team_balance_visible)
        }
        _ => true,
    };
    Ok(is_visible.then(|| Micros::from_db(micros).into()))
}

/// Returns the requested dimensions, sorted and without duplicates.
pub fn domain_dimensions(
    group_by: Option<Vec<UsageDimension>>,
) -> Vec<domain::billing::usage::UsageDimension> {
    let mut dimensions: Vec<domain::billing::usage::UsageDimension> =
        group_by.unwrap_or_default().into_iter().map(Into::into).collect();
    dimensions.sort_unstable();
    dimensions.dedup();
    dimensions
}

/// Balance of your team and spending of your account.
#[derive(SimpleObject)]
pub struct Balance {
    /// Prepaid balance of the team in cents, which all accounts of the team share. Null if the main
    /// account hides it from this sub-account.
    balance: Option<Cents>,
    /// Currency of all amounts. It is always USD.
    currency: &'static str,
    /// Whether your account is a sub-account.
    is_sub_account: bool,
    /// Total of all charges of the sub-account minus its refunds, in cents; null for a main
    /// account.
    total_spent: Option<Cents>,
    /// Spending limit of the sub-account in cents; null if it has no limit, or for a main account.
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
    /// The team of your account; null for operator keys.
    async fn team(&self, ctx: &Context<'_>) -> Result<Option<Team>> {
        match ctx.account() {
            Ok(caller) => Ok(Some(Team(domain::account::own_team(ctx.app()?, &caller).await?))),
            Err(_) => Ok(None),
        }
    }

    /// Your account; null for operator keys.
    async fn account(&self, ctx: &Context<'_>) -> Result<Option<Account>> {
        match ctx.account() {
            Ok(caller) => Ok(Some(Account(domain::account::own(ctx.app()?, &caller).await?))),
            Err(_) => Ok(None),
        }
    }

    /// Balance of your team and spending of your account; null for operator keys.
    async fn balance(&self, ctx: &Context<'_>) -> Result<Option<Balance>> {
        let Ok(caller) = ctx.account() else {
            return Ok(None);
        };
        Ok(Some(domain::account::balance(ctx.app()?, &caller).await?.into()))
    }
}
