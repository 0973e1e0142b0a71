//! Queries of templates.

use async_graphql::{Context, ID, Object, Result};

use super::Template;
use crate::{
    domain::template,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        loaders::TemplateId,
        team::sub_account::parse_id,
    },
};

#[derive(Default)]
pub struct TemplateQuery;

#[Object]
impl TemplateQuery {
    /// Template with this id; null if the account of the key in use has no such template. Requires
    /// a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn template(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the template.")] id: ID,
    ) -> Result<Option<Template>> {
        let Some(id) = parse_id(&id) else {
            return Ok(None);
        };
        Ok(ctx.row(TemplateId(id)).await?.map(Template))
    }

    /// Templates of the account of the key in use, newest first. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn templates(
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
    ) -> Result<List<Template>> {
        let page = page_args(ctx, first, after, last, before)?;
        let found =
            template::list::list(ctx.app()?, &ctx.account()?, &page, ctx.reservation()?).await?;
        Ok(list(found, Template))
    }
}
