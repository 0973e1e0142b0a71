//! Clears the sender of due messages that would be sent from a phone number that their account no longer has.

use std::collections::{BTreeSet, HashSet};

use entity::{
    inventory_number, message,
    phone_number::{self, PhoneNumberStatus},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect,
};
use uuid::Uuid;

use super::poll::Due;
use crate::{app::App, db::has_id, domain::Fault};

/// Clears the sender of messages that are about to be claimed, if the sender is a number from the inventory that the
/// messages' account does not have or has not paid for. The messages are then sent without a sender.
pub(super) async fn clear_lost_numbers(
    app: &App,
    txn: &DatabaseTransaction,
    due: &[Due],
) -> Result<(), Fault> {
    let from: BTreeSet<&str> = due
        .iter()
        .filter(|row| row.is_unclaimed())
        .filter_map(|row| row.sent_from.as_deref().filter(|from| from.starts_with('+')))
        .collect();
    if from.is_empty() {
        return Ok(());
    }
    let in_inventory: HashSet<String> = inventory_number::Entity::find()
        .select_only()
        .column(inventory_number::Column::Number)
        .filter(inventory_number::Column::Number.is_in(from.iter().copied()))
        .into_tuple()
        .all(txn)
        .await?
        .into_iter()
        .collect();
    if in_inventory.is_empty() {
        return Ok(());
    }
    let held: HashSet<(Uuid, String)> = phone_number::Entity::find()
        .select_only()
        .columns([phone_number::Column::AccountId, phone_number::Column::Number])
        .filter(phone_number::Column::Number.is_in(from.iter().copied()))
        // Every ACTIVE number is also held, but the first condition lets the database use the index.
        .filter(phone_number::Entity::is_held())
        .filter(phone_number::Column::Status.eq(PhoneNumberStatus::Active))
        .into_tuple()
        .all(txn)
        .await?
        .into_iter()
        .collect();
    let mut lost = Vec::new();
    for row in due.iter().filter(|row| row.is_unclaimed()) {
        let Some(from) = row.sent_from.clone().filter(|from| in_inventory.contains(from)) else {
            continue;
        };
        if !held.contains(&(row.account_id, from)) {
            lost.push(row.id);
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    message::Entity::update_many()
        .set(message::ActiveModel {
            sender_id: Set(None),
            sent_from: Set(None),
            ..Default::default()
        })
        .filter(has_id(app.db.backend(), lost))
        .exec(txn)
        .await?;
    Ok(())
}
