//! Queries for contacts.

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

/// Filter for contacts. A contact must meet all given conditions.
#[derive(InputObject, Default)]
pub struct ContactFilter {
    /// Only contacts whose name or one of whose addresses contains this text, ignoring case
    /// (maximum 200 characters). A complete phone number can be written in any format.
    search: Option<String>,
    /// Only contacts that have all of these tags.
    tags: Option<Vec<String>>,
    /// Only contacts that have an address on one of these channels.
    channel: Option<Vec<Channel>>,
}

#[derive(Default)]
pub struct ContactQuery;

#[Object]
impl ContactQuery {
    /// Contact with this id; null if your account has no such contact. Requires a key of an
    /// account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the contact.")] id: ID,
    ) -> Result<Option<Contact>> {
        Ok(ctx.row(parse_id(&id).map(ContactId)).await?.map(Contact))
    }

    /// Contacts of your account, newest first. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn contacts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Filter for the contacts. If omitted, all contacts are returned.")]
        filter: Option<ContactFilter>,
    ) -> Result<List<Contact>> {
        let filter = filter.unwrap_or_default();
        let filter = contact::list::ContactFilter {
            search: filter.search,
            tags: filter.tags,
            channel: values(filter.channel),
        };
        let page = page_args(ctx)?;
        let found = contact::list::list(ctx.app()?, &ctx.account()?, &filter, &page).await?;
        ctx.reservation()?.take(found.bytes())?;
        Ok(list(found, Contact))
    }
}
