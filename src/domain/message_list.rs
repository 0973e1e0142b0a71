//! Reading messages: a key sees those of its own account and environment, and nobody else's.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use entity::message::{self, Channel, MessageStatus};
use futures_util::TryStreamExt as _;
use sea_orm::{ColumnTrait, Order, QueryFilter, Select, sea_query::Expr};
use uuid::Uuid;

use super::{
    Fault,
    caller::AccountCaller,
    page::{Page, PageArgs, Position},
    recipient,
    room::Room,
    validate::may_be_stored,
};
use crate::App;

#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    pub status: Option<Vec<MessageStatus>>,
    pub channel: Option<Vec<Channel>>,
    /// The recipient, in any form that a send takes.
    pub to: Option<String>,
    pub created_at: DateTimeRange,
}

/// From included, to excluded; either may be open.
#[derive(Clone, Copy, Debug, Default)]
pub struct DateTimeRange {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
}

impl DateTimeRange {
    /// The condition on a column of times.
    pub fn on<C: ColumnTrait>(&self, column: C) -> sea_orm::Condition {
        sea_orm::Condition::all()
            .add_option(self.from.map(|from| column.gte(from)))
            .add_option(self.to.map(|to| column.lt(to)))
    }
}

/// One page of the caller's messages, newest first.
pub async fn list(
    app: &App,
    caller: &AccountCaller,
    filter: &MessageFilter,
    page: &PageArgs,
    room: &Room,
) -> Result<Page<message::Model>, Fault> {
    let keyset = page.keyset("messages")?;
    let mut select = message::Entity::owned_by(caller.account_id, caller.environment)
        .filter(filter.created_at.on(message::Column::CreatedAt));
    if let Some(status) = &filter.status {
        select = select.filter(message::Column::Status.is_in(status.iter().copied()));
    }
    if let Some(channel) = &filter.channel {
        select = select.filter(message::Column::Channel.is_in(channel.iter().copied()));
    }
    if let Some(to) = &filter.to {
        let normalised = recipient::parse(to, None).map(|recipient| recipient.address);
        let address = normalised.unwrap_or_else(|_| to.trim().to_owned());
        let is_to = message::Column::Recipient.eq(&address);
        // No text is the recipient of none but erased messages.
        let may_be = !address.is_empty() && may_be_stored(&address);
        select = select.filter(if may_be { is_to } else { Expr::cust("1 = 0") });
    }
    let total = keyset.total(&app.read_as(caller), &select).await?;
    let select = keyset.slice(select, &Order::Desc, None, message::Column::Id)?;
    let rows = read(app, caller, select, room).await?;
    Ok(keyset.page(rows, total, |row| Position { key: String::new(), id: row.id }))
}

/// The caller's messages with these ids.
pub async fn find_many(
    app: &App,
    caller: &AccountCaller,
    ids: &[Uuid],
    room: &Room,
) -> Result<HashMap<Uuid, message::Model>, Fault> {
    let select = message::Entity::owned_by(caller.account_id, caller.environment)
        .filter(message::Column::Id.is_in(ids.iter().copied()));
    let rows = read(app, caller, select, room).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Reads messages row by row, as far as there is room for their texts.
async fn read(
    app: &App,
    caller: &AccountCaller,
    select: Select<message::Entity>,
    room: &Room,
) -> Result<Vec<message::Model>, Fault> {
    let readers = app.read_as(caller);
    let mut found = select.stream(&readers).await?;
    let mut rows = Vec::new();
    while let Some(row) = found.try_next().await? {
        room.take(text_bytes(&row))?;
        rows.push(row);
    }
    Ok(rows)
}

/// How much text a message has.
pub(super) fn text_bytes(row: &message::Model) -> usize {
    let more = [&row.subject, &row.html, &row.metadata].into_iter().flatten().map(String::len);
    row.text.len() + more.sum::<usize>()
}
