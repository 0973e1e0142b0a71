//! Queries for templates.

use async_graphql::{Context, ID, Object, Result};

use super::Template;
use crate::{
    domain::template,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        input::parse_id,
        loaders::TemplateId,
    },
};

#[derive(Default)]
pub struct TemplateQuery;

#[Object]
impl TemplateQuery {
    /// Template with this id; null if your account has no such template. Requires a key of an
    /// account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the template.")] id: ID,
    ) -> Result<Option<Template>> {
        Ok(ctx.row(parse_id(&id).map(TemplateId)).await?.map(Template))
    }

    /// Templates of your account, newest first. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn templates(&self, ctx: &Context<'_>) -> Result<List<Template>> {
        let page = page_args(ctx)?;
        let found =
            template::list::list(ctx.app()?, &ctx.account()?, &page, ctx.reservation()?).await?;
        Ok(list(found, Template))
    }
}
