//! Queries of messages.

use async_graphql::{Context, ID, InputObject, Object, Result};

use super::{Channel, Message, MessageStatus};
use crate::{
    domain::{message::list as domain, range},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        connection::{List, list, page_args},
        loaders::MessageId,
        scalars::DateTime,
        team::sub_account::parse_id,
    },
};

/// Conditions on messages. A message must meet all conditions that are given.
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

/// Time range. A missing bound means that the range is open on that side.
#[derive(InputObject)]
pub struct DateTimeRange {
    /// Start of the range (inclusive).
    from: Option<DateTime>,
    /// End of the range (exclusive).
    to: Option<DateTime>,
}

impl From<Option<DateTimeRange>> for range::DateTimeRange {
    fn from(range: Option<DateTimeRange>) -> Self {
        range.map_or_else(Self::default, |range| Self {
            from: range.from.map(|from| from.0),
            to: range.to.map(|to| to.0),
        })
    }
}

#[derive(Default)]
pub struct MessageListQuery;

#[Object]
impl MessageListQuery {
    /// Message with this id; null if the account and environment of the key in use have no such
    /// message. Requires a key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the message.")] id: ID,
    ) -> Result<Option<Message>> {
        let Some(id) = parse_id(&id) else {
            return Ok(None);
        };
        Ok(ctx.row(MessageId(id)).await?.map(Message))
    }

    /// Messages of the account and environment of the key in use, newest first. Requires a key of
    /// an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Conditions on the messages. If omitted, all are returned.")]
        filter: Option<MessageFilter>,
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
    ) -> Result<List<Message>> {
        let filter = filter.unwrap_or_default();
        let filter = domain::MessageFilter {
            status: filter.status.map(|status| status.into_iter().map(Into::into).collect()),
            channel: filter.channel.map(|channel| channel.into_iter().map(Into::into).collect()),
            to: filter.to,
            created_at: filter.created_at.into(),
        };
        let page = page_args(ctx, first, after, last, before)?;
        let (caller, reservation) = (ctx.account()?, ctx.reservation()?);
        let found = domain::list(ctx.app()?, &caller, &filter, &page, reservation).await?;
        Ok(list(found, Message))
    }
}
