//! Queries of senders.

use async_graphql::{Context, ID, Object, Result};

use super::Sender;
use crate::{
    domain::sender::list as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        loaders::SenderId,
        team::sub_account::parse_id,
    },
};

#[derive(Default)]
pub struct SenderQuery;

#[Object]
impl SenderQuery {
    /// Sender with this id; null if the account of the key in use has no such sender. Requires a
    /// key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the sender.")] id: ID,
    ) -> Result<Option<Sender>> {
        let Some(id) = parse_id(&id) else {
            return Ok(None);
        };
        Ok(ctx.rows()?.load_one(SenderId(id)).await?.map(Sender))
    }

    /// Senders of the account of the key in use, newest first. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn senders(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Number of items to return from the start of the list (0 to 100, default 20)."
        )]
        first: Option<i32>,
        #[graphql(desc = "Return only items after this cursor.")] after: Option<String>,
        #[graphql(
            desc = "Number of items to return from the end of the list (0 to 100), instead of \
                    first."
        )]
        last: Option<i32>,
        #[graphql(desc = "Return only items before this cursor.")] before: Option<String>,
    ) -> Result<List<Sender>> {
        let page = page_args(ctx, first, after, last, before)?;
        let found = domain::list(ctx.app()?, &ctx.account()?, &page).await?;
        Ok(list(found, Sender))
    }
}
