//! Finding senders of the key's own account: one, or a page.

use async_graphql::{Context, ID, Object, Result};

use super::Sender;
use crate::{
    domain::sender::list as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        input::parse_id,
        loaders::SenderId,
    },
};

#[derive(Default)]
pub struct SenderQuery;

#[Object]
impl SenderQuery {
    /// One sender of the account of the key in use; null if there is none.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sender's id.")] id: ID,
    ) -> Result<Option<Sender>> {
        let Some(id) = parse_id(&id) else {
            return Ok(None);
        };
        Ok(ctx.rows()?.load_one(SenderId(id)).await?.map(Sender))
    }

    /// The senders of the account of the key in use, newest first.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn senders(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<Sender>> {
        let page = page_args(ctx, first, after, last, before)?;
        let found = domain::list(ctx.app()?, &ctx.account()?, &page).await?;
        Ok(list(found, Sender))
    }
}
