//! Queries for senders.

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
    /// Sender with this id; null if your account has no such sender. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the sender.")] id: ID,
    ) -> Result<Option<Sender>> {
        Ok(ctx.load(parse_id(&id).map(SenderId)).await?.map(Sender))
    }

    /// Senders of your account, newest first. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn senders(&self, ctx: &Context<'_>) -> Result<List<Sender>> {
        let found = domain::list(ctx.app()?, &ctx.account()?, &page_args(ctx)?).await?;
        Ok(list(found, Sender))
    }
}
