//! Reading templates of the key's own account: one, or a page.

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
    /// One template of the account of the key in use; null if there is none.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The template's id.")] id: ID,
    ) -> Result<Option<Template>> {
        let Some(id) = parse_id(&id) else {
            return Ok(None);
        };
        Ok(ctx.row(TemplateId(id)).await?.map(Template))
    }

    /// The templates of the account of the key in use, newest first.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn templates(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<Template>> {
        let page = page_args(ctx, first, after, last, before)?;
        let found =
            template::list::list(ctx.app()?, &ctx.account()?, &page, ctx.reservation()?).await?;
        Ok(list(found, Template))
    }
}
