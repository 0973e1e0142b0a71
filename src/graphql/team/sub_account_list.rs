//! Finding sub-accounts, by the main account of their team: one, or a page by filter and order.

use async_graphql::{Context, Enum, InputObject, Object, Result};

use crate::{
    domain::{
        page::PageArgs,
        team::{sub_account, sub_account_list},
    },
    graphql::{
        access::{self, ContextExt, RoleGuard},
        account::Account,
        connection::{List, list, page_args},
        enums::{AccountStatus, SubAccountOrderField, values},
        execution::text_size::TextBytes as _,
        input::AccountRef,
    },
};

/// Which sub-accounts to list: those that fit every part that is given.
#[derive(InputObject, Default)]
pub struct SubAccountFilter {
    /// Those with one of these statuses.
    status: Option<Vec<AccountStatus>>,
    /// Those whose name or externalId holds this text, in upper or lower case; at most 200
    /// characters.
    search: Option<String>,
    /// Those whose sends are refused now, or those whose are not.
    is_blocked: Option<bool>,
    /// Those whose metadata holds this value.
    metadata: Option<MetadataFilter>,
}

/// A key of the metadata and its value.
#[derive(InputObject)]
pub struct MetadataFilter {
    /// A key at the top of the metadata.
    key: String,
    /// The text that it holds, exactly. Numbers and other values do not match.
    value: String,
}

/// How to order sub-accounts.
#[derive(InputObject)]
pub struct SubAccountOrder {
    /// What to order by.
    by: SubAccountOrderField,
    /// Which way.
    #[graphql(default_with = "OrderDirection::Desc")]
    direction: OrderDirection,
}

/// The way of an order.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub enum OrderDirection {
    /// Smallest, first or oldest first.
    Asc,
    /// Largest, last or newest first.
    Desc,
}

#[derive(Default)]
pub struct SubAccountQuery;

#[Object]
impl SubAccountQuery {
    /// One sub-account of the team, by id or externalId; null if there is none. Main-account keys
    /// only.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] by: AccountRef,
    ) -> Result<Option<Account>> {
        let main = ctx.caller()?.main()?;
        Ok(sub_account::find(ctx.app()?, &main, &by.into()).await?.map(Account))
    }

    /// The team's sub-accounts, newest first unless ordered otherwise. Main-account keys only.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    #[expect(clippy::too_many_arguments, reason = "the arguments of a Relay connection")]
    async fn sub_accounts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all if left out.")] filter: Option<SubAccountFilter>,
        #[graphql(desc = "In which order; newest first if left out.")] order_by: Option<
            SubAccountOrder,
        >,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<Account>> {
        let page = page_args(ctx, first, after, last, before)?;
        list_sub_accounts(ctx, filter, order_by, page).await
    }
}

/// The list behind `subAccounts` of the root and of a team.
pub async fn list_sub_accounts(
    ctx: &Context<'_>,
    filter: Option<SubAccountFilter>,
    order_by: Option<SubAccountOrder>,
    page: PageArgs,
) -> Result<List<Account>> {
    let main = ctx.caller()?.main()?;
    let filter = filter.unwrap_or_default();
    let filter = sub_account_list::SubAccountFilter {
        status: values(filter.status),
        search: filter.search,
        is_blocked: filter.is_blocked,
        metadata: filter.metadata.map(|metadata| (metadata.key, metadata.value)),
    };
    let order_by = order_by.unwrap_or(SubAccountOrder {
        by: sub_account_list::SubAccountOrderField::CreatedAt.into(),
        direction: OrderDirection::Desc,
    });
    let is_ascending = order_by.direction == OrderDirection::Asc;
    let field = order_by.by.0;
    let found =
        sub_account_list::list(ctx.app()?, &main, &filter, field, is_ascending, &page).await?;
    ctx.reservation()?.take(found.bytes())?;
    Ok(list(found, Account))
}
