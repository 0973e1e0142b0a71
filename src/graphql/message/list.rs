//! Reading one's own messages: one, or a list.

use async_graphql::{Context, ID, InputObject, Object, Result};

use super::Message;
use crate::{
    domain::message::list as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        enums::{Channel, MessageStatus, values},
        input::{DateTimeRange, parse_id},
        loaders::MessageId,
    },
};

/// Which messages to list: those that fit every part that is given.
#[derive(InputObject, Default)]
pub struct MessageFilter {
    /// Those with one of these statuses.
    status: Option<Vec<MessageStatus>>,
    /// Those of one of these channels.
    channel: Option<Vec<Channel>>,
    /// Those to this recipient.
    to: Option<String>,
    /// Those accepted in this time.
    created_at: Option<DateTimeRange>,
}

#[derive(Default)]
pub struct MessageListQuery;

#[Object]
impl MessageListQuery {
    /// One message of the account and environment of the key in use; null if there is none.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message's id.")] id: ID,
    ) -> Result<Option<Message>> {
        let Some(id) = parse_id(&id) else {
            return Ok(None);
        };
        Ok(ctx.row(MessageId(id)).await?.map(Message))
    }

    /// The messages of the account and environment of the key in use, newest first.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which ones; all if left out.")] filter: Option<MessageFilter>,
        #[graphql(desc = "How many from the start, 0 to 100; 20 if left out.")] first: Option<i32>,
        #[graphql(desc = "Only what follows this cursor.")] after: Option<String>,
        #[graphql(desc = "How many from the end, 0 to 100, instead of first.")] last: Option<i32>,
        #[graphql(desc = "Only what precedes this cursor.")] before: Option<String>,
    ) -> Result<List<Message>> {
        let filter = filter.unwrap_or_default();
        let filter = domain::MessageFilter {
            status: values(filter.status),
            channel: values(filter.channel),
            to: filter.to,
            created_at: filter.created_at.into(),
        };
        let page = page_args(ctx, first, after, last, before)?;
        let (caller, reservation) = (ctx.account()?, ctx.reservation()?);
        let found = domain::list(ctx.app()?, &caller, &filter, &page, reservation).await?;
        Ok(list(found, Message))
    }
}
