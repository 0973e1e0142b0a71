//! The operator's inventory of phone numbers: what can be bought, and where a number goes that is
//! given back. Who takes a number holds its row until the commit, so of two buyers exactly one gets it.

use entity::{
    inventory_number::{self, Column, Entity},
    phone_number,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
};
use uuid::Uuid;

use super::{Fault, caller::OperatorCaller};
use crate::App;

/// Takes a number out of the inventory for `phone_number_id`; `None` if it is not to be had.
pub(super) async fn take(
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

/// Gives a number back: whoever comes next can buy it, unless it was withdrawn.
pub(super) async fn give_back(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<(), Fault> {
    let free = inventory_number::ActiveModel {
        phone_number_id: Set(None),
        updated_at: Set(app.clock.now()),
        ..Default::default()
    };
    let given = Entity::update_many()
        .set(free)
        .filter(Column::Number.eq(&number.number))
        .filter(Column::PhoneNumberId.eq(number.id))
        .exec(txn)
        .await?;
    match given.rows_affected {
        1 => Ok(()),
        _ => Err(Fault::Broken("the inventory knows who has a number")),
    }
}

/// Everything in stock, bought or not, by number; each with the account's number that it is now.
pub async fn list(
    app: &App,
) -> Result<Vec<(inventory_number::Model, Option<phone_number::Model>)>, Fault> {
    let txn = app.db.begin_snapshot().await?;
    let stock = Entity::find()
        .filter(Column::IsWithdrawn.eq(false))
        .order_by_asc(Column::Number)
        .all(&txn)
        .await?;
    let held =
        phone_number::Entity::find().filter(phone_number::Entity::is_held()).all(&txn).await?;
    txn.commit().await?;
    let mut held: std::collections::HashMap<Uuid, phone_number::Model> =
        held.into_iter().map(|row| (row.id, row)).collect();
    let with_holder = |row: inventory_number::Model| {
        let holder = row.phone_number_id.and_then(|id| held.remove(&id));
        (row, holder)
    };
    Ok(stock.into_iter().map(with_holder).collect())
}

/// Takes a number out of stock: nobody buys it any more. Whoever has it keeps it, and it does not come
/// back. `None` if it is not in stock.
pub async fn withdraw(
    app: &App,
    _operator: &OperatorCaller,
    number: &str,
) -> Result<Option<inventory_number::Model>, Fault> {
    let withdrawn = inventory_number::ActiveModel {
        is_withdrawn: Set(true),
        updated_at: Set(app.clock.now()),
        ..Default::default()
    };
    let rows = Entity::update_many()
        .set(withdrawn)
        .filter(Column::Number.eq(number))
        .filter(Column::IsWithdrawn.eq(false))
        .exec_with_returning(&app.db.write)
        .await?;
    Ok(rows.into_iter().next())
}
