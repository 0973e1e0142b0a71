//! Reads senders. A key sees only the senders of its own account.

use std::collections::HashMap;

use entity::sender::{self, Column, Entity};
use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        Fault,
        caller::AccountCaller,
        list::List,
        page::{Page, PageArgs},
    },
};

/// Returns one page of the caller's senders, newest first.
pub async fn list(
    app: &App,
    caller: &AccountCaller,
    page: &PageArgs,
) -> Result<Page<sender::Model>, Fault> {
    let keyset = page.keyset("senders")?;
    let rows = Entity::owned_by(caller.account_id);
    let list = List::newest_first(rows, Column::Id, |row| row.id);
    list.page(&app.read_as(caller), keyset).await
}

/// Returns the caller's senders that have these phone numbers, by the id of the number.
pub async fn find_by_numbers(
    app: &App,
    caller: &AccountCaller,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, sender::Model>, Fault> {
    let rows = Entity::owned_by(caller.account_id)
        .filter(Column::PhoneNumberId.is_in(ids.iter().copied()))
        .all(&app.read_as(caller))
        .await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.phone_number_id?, row))).collect())
}

/// Returns the caller's senders with these ids.
pub async fn find_many(
    app: &App,
    caller: &AccountCaller,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, sender::Model>, Fault> {
    let rows = Entity::owned_by(caller.account_id)
        .filter(Column::Id.is_in(ids.iter().copied()))
        .all(&app.read_as(caller))
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}
