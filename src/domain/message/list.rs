//! Reads messages. A key sees only the messages of its own account and environment.

use std::collections::HashMap;

use entity::message::{self, Channel, MessageStatus};
use sea_orm::{ColumnTrait, Condition, QueryFilter, Select, sea_query::Expr};
use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        Fault,
        caller::AccountCaller,
        channel::recipient::{self, RECIPIENT_BYTES_MAX},
        list::{List, is_one_of},
        page::{Page, PageArgs},
        range::DateTimeRange,
        validate::may_be_stored,
    },
    limits::memory_budget::Reservation,
};

#[derive(Clone, Debug, Default)]
pub struct MessageFilter {
    pub status: Option<Vec<MessageStatus>>,
    pub channel: Option<Vec<Channel>>,
    /// The recipient, in any form that `sendMessage` accepts.
    pub to: Option<String>,
    pub created_at: DateTimeRange,
}

/// Returns one page of the caller's messages, newest first.
pub async fn list(
    app: &App,
    caller: &AccountCaller,
    filter: &MessageFilter,
    page: &PageArgs,
    reservation: &Reservation,
) -> Result<Page<message::Model>, Fault> {
    let keyset = page.keyset("messages")?;
    let mut rows = message::Entity::owned_by(caller.account_id, caller.environment)
        .filter(filter.created_at.on(message::Column::Id, message::Column::CreatedAt));
    let status = filter.status.as_deref();
    if let Some(to) = &filter.to {
        rows = rows.filter(match address_of(to) {
            Some(address) => message::Column::Recipient.eq(address),
            None => Expr::cust("1 = 0"),
        });
    } else if status.is_some_and(|status| status.iter().all(|status| status.is_rare())) {
        rows = rows.filter(message::Entity::has_rare_status());
    }
    let conditions = Condition::all()
        .add_option(status.map(|status| is_one_of(message::Column::Status, status)))
        .add_option(
            filter.channel.as_ref().map(|channel| is_one_of(message::Column::Channel, channel)),
        );
    let list = List::newest_first(rows, message::Column::Id, |row| row.id).filtered(conditions);
    let (select, frame) = list.begin(&app.read_as(caller), keyset).await?;
    Ok(frame.page(read(app, caller, select, reservation).await?))
}

/// Returns the stored form of a recipient; `None` if no message can have this recipient.
fn address_of(to: &str) -> Option<String> {
    let to = to.trim();
    if to.len() > RECIPIENT_BYTES_MAX || !may_be_stored(to) {
        return None;
    }
    let normalised = recipient::parse(to, None).map(|recipient| recipient.address);
    // Only erased messages have an empty recipient.
    Some(normalised.unwrap_or_else(|_| to.to_owned())).filter(|address| !address.is_empty())
}

/// Returns the caller's messages with these ids.
pub async fn find_many(
    app: &App,
    caller: &AccountCaller,
    ids: &[Uuid],
    reservation: &Reservation,
) -> Result<HashMap<Uuid, message::Model>, Fault> {
    let select = message::Entity::owned_by(caller.account_id, caller.environment)
        .filter(message::Column::Id.is_in(ids.iter().copied()));
    let rows = read(app, caller, select, reservation).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Reads messages row by row, within the memory reservation.
async fn read(
    app: &App,
    caller: &AccountCaller,
    select: Select<message::Entity>,
    reservation: &Reservation,
) -> Result<Vec<message::Model>, Fault> {
    let readers = app.read_as(caller);
    reservation.collect(select.stream(&readers).await?, text_bytes).await
}

/// Returns the size of a message's content and metadata, in bytes.
pub fn text_bytes(row: &message::Model) -> usize {
    let more = [&row.subject, &row.html, &row.metadata].into_iter().flatten().map(String::len);
    row.text.len() + more.sum::<usize>()
}
