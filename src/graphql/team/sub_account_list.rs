//! Queries for sub-accounts, with filters and orders.

use async_graphql::{Context, Enum, InputObject, Object, Result};

use crate::{
    domain::team::{sub_account, sub_account_list},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        account::Account,
        connection::{List, list, page_args},
        enums::{AccountStatus, SubAccountOrderField, values},
        execution::text_size::TextBytes as _,
        input::AccountRef,
    },
};

/// Filter for sub-accounts. A sub-account must meet all given conditions.
#[derive(InputObject, Default)]
pub struct SubAccountFilter {
    /// Only sub-accounts with one of these statuses.
    status: Option<Vec<AccountStatus>>,
    /// Only sub-accounts whose name or externalId contains this text, ignoring case (maximum 200
    /// characters).
    search: Option<String>,
    /// Whether to return only sub-accounts that currently cannot send messages (true) or only those
    /// that can (false).
    is_blocked: Option<bool>,
    /// Only sub-accounts whose metadata has this value for this key.
    metadata: Option<MetadataFilter>,
}

/// Filter for metadata: a key and its value.
#[derive(InputObject)]
pub struct MetadataFilter {
    /// Key at the top level of the metadata.
    key: String,
    /// Exact value of the key, which must be a string. Numbers and other types do not match.
    value: String,
}

/// Order of sub-accounts.
#[derive(InputObject)]
pub struct SubAccountOrder {
    /// Property to order by.
    by: SubAccountOrderField,
    /// Direction of the order (default DESC).
    #[graphql(default_with = "OrderDirection::Desc")]
    direction: OrderDirection,
}

/// Direction of an order.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub enum OrderDirection {
    /// Ascending: the smallest, oldest or alphabetically first value comes first.
    Asc,
    /// Descending: the largest, newest or alphabetically last value comes first.
    Desc,
}

#[derive(Default)]
pub struct SubAccountQuery;

#[Object]
impl SubAccountQuery {
    /// Sub-account with this id or externalId; null if the team has no such sub-account. Requires a
    /// key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account.")] by: AccountRef,
    ) -> Result<Option<Account>> {
        let main = ctx.caller()?.main()?;
        Ok(sub_account::find(ctx.app()?, &main, &by.into()).await?.map(Account))
    }

    /// Sub-accounts of the team, by default newest first. Requires a key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn sub_accounts(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Filter for the sub-accounts. If omitted, all sub-accounts are returned."
        )]
        filter: Option<SubAccountFilter>,
        #[graphql(desc = "Order of the sub-accounts (default newest first).")] order_by: Option<
            SubAccountOrder,
        >,
    ) -> Result<List<Account>> {
        list_sub_accounts(ctx, filter, order_by).await
    }
}

/// Implements both `subAccounts` fields.
pub async fn list_sub_accounts(
    ctx: &Context<'_>,
    filter: Option<SubAccountFilter>,
    order_by: Option<SubAccountOrder>,
) -> Result<List<Account>> {
    let page = page_args(ctx)?;
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
