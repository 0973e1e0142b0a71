//! The operator's inventory of phone numbers. A purchase takes a number from the inventory, and a release puts the
//! number back. Taking a number locks its row until the commit, so of two simultaneous buyers exactly one succeeds.

use std::collections::HashMap;

use entity::{
    audit_entry::AuditAction,
    inventory_number::{self, Column, Entity},
    phone_number,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        Failure, Fault,
        api_key::authentication::begin_as_operator,
        audit_log::{Entry, Settings},
        caller::OperatorCaller,
        refused,
    },
};

entity::api_enum! {
    /// Reasons why the command `number withdraw` is refused.
    pub enum WithdrawPhoneNumberRefusal {
        /// There is no such number.
        NotFound,
    }
}

/// Assigns a number from the inventory to `phone_number_id`; `None` if the number is not available.
pub(in crate::domain) async fn take(
    app: &App,
    txn: &DatabaseTransaction,
    number: &str,
    phone_number_id: Uuid,
) -> Result<Option<inventory_number::Model>, Fault> {
    let taken = inventory_number::ActiveModel {
        phone_number_id: Set(Some(phone_number_id)),
        updated_at: Set(app.clock.now()),
        ..Default::default()
    };
    let rows = Entity::update_many()
        .set(taken)
        .filter(Column::Number.eq(number))
        .filter(Entity::is_available())
        .exec_with_returning(txn)
        .await?;
    Ok(rows.into_iter().next())
}

/// Makes a number available again, unless it was withdrawn.
pub(in crate::domain) async fn put_back(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<(), Fault> {
    let free = inventory_number::ActiveModel {
        phone_number_id: Set(None),
        updated_at: Set(app.clock.now()),
        ..Default::default()
    };
    let written = Entity::update_many()
        .set(free)
        .filter(Column::Number.eq(&number.number))
        .filter(Column::PhoneNumberId.eq(number.id))
        .exec(txn)
        .await?;
    match written.rows_affected {
        1 => Ok(()),
        _ => Err(Fault::Broken("the inventory refers to the holder of a number")),
    }
}

/// Returns all numbers that are not withdrawn, in order, each with the `phone_number` row of the account that has the
/// number.
pub async fn list(
    app: &App,
) -> Result<Vec<(inventory_number::Model, Option<phone_number::Model>)>, Fault> {
    let txn = app.db.read.snapshot().await?;
    let stock = Entity::find()
        .filter(Column::IsWithdrawn.eq(false))
        .order_by_asc(Column::Number)
        .all(&txn)
        .await?;
    let held =
        phone_number::Entity::find().filter(phone_number::Entity::is_held()).all(&txn).await?;
    txn.end().await?;
    let mut held: HashMap<Uuid, phone_number::Model> =
        held.into_iter().map(|row| (row.id, row)).collect();
    let with_holder = |row: inventory_number::Model| {
        let holder = row.phone_number_id.and_then(|id| held.remove(&id));
        (row, holder)
    };
    Ok(stock.into_iter().map(with_holder).collect())
}

/// Withdraws a number, so that it can no longer be bought. An account that has the number keeps it until the account
/// releases it.
pub async fn withdraw(
    app: &App,
    operator: &OperatorCaller,
    number: &str,
) -> Result<inventory_number::Model, Failure<WithdrawPhoneNumberRefusal>> {
    use WithdrawPhoneNumberRefusal as Refusal;
    let withdrawn = inventory_number::ActiveModel {
        is_withdrawn: Set(true),
        updated_at: Set(app.clock.now()),
        ..Default::default()
    };
    let txn = begin_as_operator(app, operator).await?;
    let rows = Entity::update_many()
        .set(withdrawn)
        .filter(Column::Number.eq(number))
        .filter(Column::IsWithdrawn.eq(false))
        .exec_with_returning(&txn)
        .await?;
    let withdrawn = rows.into_iter().next().ok_or_else(|| {
        refused(Refusal::NotFound, &["number"], "There is no such number in the inventory.")
    })?;
    let number = Settings::from([("number", json!(withdrawn.number))]);
    let entry = Entry::of(AuditAction::WithdrawPhoneNumber, withdrawn.phone_number_id);
    txn.commit(app, entry.made(number)).await?;
    Ok(withdrawn)
}
