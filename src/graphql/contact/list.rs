//! Finding contacts of the key's own account: one, or a page by filter.

use async_graphql::{Context, ID, InputObject, Object, Result};

use super::Contact;
use crate::{
    domain::contact,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        enums::{Channel, values},
        execution::text_size::TextBytes as _,
        input::parse_id,
        loaders::ContactId,
    },
};

/// Which contacts to list: those that fit every part that is given.
#[derive(InputObject, Default)]
pub struct ContactFilter {
    /// Those whose name or one of whose addresses holds this text, in upper or lower case; at most
    /// 200 characters. A whole phone number may be written in any form.
    search: Option<String>,
    /// Those that have all of these tags.
    tags: Option<Vec<String>>,
    /// Those that have an address of one of these channels.
    channel: Option<Vec<Channel>>,
}

#[derive(Default)]
pub struct ContactQuery;

#[Object]
impl ContactQuery {
    /// One contact of the account of the key in use; null if there is none.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact's id.")] id: ID,
    ) -> Result<Option<Contact>> {
        let Some(id) = parse_id(&id) else {
            return Ok(None);
        };
        Ok(ctx.row(ContactId(id)).await?.map(Contact))
    }

    /// The contacts of the account of the key in use, newest first.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn contacts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all if left out.")] filter: Option<ContactFilter>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<Contact>> {
        let filter = filter.unwrap_or_default();
        let filter = contact::list::ContactFilter {
            search: filter.search,
            tags: filter.tags,
            channel: values(filter.channel),
        };
        let page = page_args(ctx, first, after, last, before)?;
        let found = contact::list::list(ctx.app()?, &ctx.account()?, &filter, &page).await?;
        ctx.reservation()?.take(found.bytes())?;
        Ok(list(found, Contact))
    }
}
