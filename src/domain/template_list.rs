//! Reading templates: a key sees those of its own account, and nobody else's (R3).

use std::collections::HashMap;

use entity::template::{self, Column, Entity};
use futures_util::TryStreamExt as _;
use sea_orm::{ColumnTrait, Order, QueryFilter, Select};
use uuid::Uuid;

use super::{
    Fault,
    caller::AccountCaller,
    page::{Page, PageArgs, Position},
    room::Room,
};
use crate::App;

/// One page of the caller's templates, newest first.
pub async fn list(
    app: &App,
    caller: &AccountCaller,
    page: &PageArgs,
    room: &Room,
) -> Result<Page<template::Model>, Fault> {
    let keyset = page.keyset("templates")?;
    let select = Entity::owned_by(caller.account_id);
    let total = keyset.total(&app.db.read, &select).await?;
    let select = keyset.slice(select, &Order::Desc, None, Column::Id)?;
    let rows = read(app, select, room).await?;
    Ok(keyset.page(rows, total, |row| Position { key: String::new(), id: row.id }))
}

/// The caller's templates with these ids.
pub async fn find_many(
    app: &App,
    caller: &AccountCaller,
    ids: &[Uuid],
    room: &Room,
) -> Result<HashMap<Uuid, template::Model>, Fault> {
    let select = Entity::owned_by(caller.account_id).filter(Column::Id.is_in(ids.iter().copied()));
    let rows = read(app, select, room).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Reads templates row by row, as far as there is room for their sources.
async fn read(
    app: &App,
    select: Select<Entity>,
    room: &Room,
) -> Result<Vec<template::Model>, Fault> {
    let mut found = select.stream(&app.db.read).await?;
    let mut rows = Vec::new();
    while let Some(row) = found.try_next().await? {
        room.take(bytes_of(&row))?;
        rows.push(row);
    }
    Ok(rows)
}

/// Bytes of all that a template says.
pub fn bytes_of(row: &template::Model) -> usize {
    let sources = [
        &row.sms_text,
        &row.email_subject,
        &row.email_text,
        &row.email_html,
        &row.whatsapp_text,
        &row.telegram_text,
    ];
    row.variables.len() + sources.into_iter().flatten().map(String::len).sum::<usize>()
}
