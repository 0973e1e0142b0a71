//! Reads templates. A key sees only the templates of its own account.

use std::collections::HashMap;

use entity::template::{self, Column, Entity};
use sea_orm::{ColumnTrait, QueryFilter, Select};
use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        Fault,
        caller::AccountCaller,
        list::List,
        page::{Page, PageArgs},
    },
    limits::memory_budget::Reservation,
};

/// Returns one page of the caller's templates, newest first.
pub async fn list(
    app: &App,
    caller: &AccountCaller,
    page: &PageArgs,
    reservation: &Reservation,
) -> Result<Page<template::Model>, Fault> {
    let keyset = page.keyset("templates")?;
    let rows = Entity::owned_by(caller.account_id);
    let list = List::newest_first(rows, Column::Id, |row| row.id);
    let (select, frame) = list.begin(&app.read_as(caller), keyset).await?;
    Ok(frame.page(read(app, caller, select, reservation).await?))
}

/// Returns the caller's templates with these ids.
pub async fn find_many(
    app: &App,
    caller: &AccountCaller,
    ids: &[Uuid],
    reservation: &Reservation,
) -> Result<HashMap<Uuid, template::Model>, Fault> {
    let select = Entity::owned_by(caller.account_id).filter(Column::Id.is_in(ids.iter().copied()));
    let rows = read(app, caller, select, reservation).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Reads templates row by row, within the memory reservation.
async fn read(
    app: &App,
    caller: &AccountCaller,
    select: Select<Entity>,
    reservation: &Reservation,
) -> Result<Vec<template::Model>, Fault> {
    let readers = app.read_as(caller);
    reservation.collect(select.stream(&readers).await?, bytes_of).await
}

/// Returns the size of a template's sources and variables, in bytes.
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
