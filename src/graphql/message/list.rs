//! Queries for messages.

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

/// Filter for messages. A message must meet all given conditions.
#[derive(InputObject, Default)]
pub struct MessageFilter {
    /// Only messages with one of these statuses.
    status: Option<Vec<MessageStatus>>,
    /// Only messages of these channels.
    channel: Option<Vec<Channel>>,
    /// Only messages to this recipient: a phone number, an e-mail address, or a Telegram chat id.
    to: Option<String>,
    /// Only messages that were accepted in this time range.
    created_at: Option<DateTimeRange>,
}

#[derive(Default)]
pub struct MessageListQuery;

#[Object]
impl MessageListQuery {
    /// Message with this id; null if your account has no such message in the environment of your
    /// key. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the message.")] id: ID,
    ) -> Result<Option<Message>> {
        Ok(ctx.row(parse_id(&id).map(MessageId)).await?.map(Message))
    }

    /// Messages of your account in the environment of your key, newest first. Requires a key of an
    /// account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Filter for the messages. If omitted, all messages are returned.")]
        filter: Option<MessageFilter>,
    ) -> Result<List<Message>> {
        let filter = filter.unwrap_or_default();
        let filter = domain::MessageFilter {
            status: values(filter.status),
            channel: values(filter.channel),
            to: filter.to,
            created_at: filter.created_at.into(),
        };
        let page = page_args(ctx)?;
        let (caller, reservation) = (ctx.account()?, ctx.reservation()?);
        let found = domain::list(ctx.app()?, &caller, &filter, &page, reservation).await?;
        Ok(list(found, Message))
    }
}
