//! What uses a phone number, so that nobody gives it away by mistake: a sender that has it, and
//! messages that wait to go out from it, for a message keeps what it comes from. The one place that
//! knows: whatever comes to refer to numbers says so here.
//!
//! A message is given its number before it is judged, and waits for up to 30 days. So it is looked at
//! again when it is claimed, and no message goes out from a number that its account has no more.

use std::collections::{BTreeSet, HashSet};

use entity::{
    inventory_number,
    message::{self, MessageStatus},
    phone_number::{self, PhoneNumberStatus},
    sender,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter,
    QuerySelect,
};
use uuid::Uuid;

use super::Fault;
use crate::{App, db::has_id};

/// What stands against giving a number away, for people; `None` if nothing does. Asked under the
/// lock of the team.
pub(super) async fn find(
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<Option<&'static str>, Fault> {
    if sender_of(txn, number).await?.is_some() {
        return Ok(Some("A sender uses the number; take it away from the sender first."));
    }
    let waiting = message::Entity::find().filter(waits_from(number)).one(txn).await?;
    Ok(waiting.map(|_| {
        "A message waits to go out from the number; cancel it, or try again when it was handed \
         over."
    }))
}

/// Takes the number away from the sender that has it, under the lock of the team: it goes to another
/// account, or back to the inventory because its month was not paid. Messages that wait to go out
/// from it lose it when they are claimed ([`drop_lost`]).
pub(super) async fn detach(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<(), Fault> {
    sender::Entity::update_many()
        .set(sender::ActiveModel {
            phone_number_id: Set(None),
            updated_at: Set(app.clock.now()),
            ..Default::default()
        })
        .filter(sender::Column::AccountId.eq(number.account_id))
        .filter(sender::Column::PhoneNumberId.eq(number.id))
        .exec(txn)
        .await?;
    Ok(())
}

/// Takes the sender away from messages that are about to be claimed and were to come from a number of
/// the inventory that their account does not have, or has not paid: they go out without one.
pub(super) async fn drop_lost(
    app: &App,
    txn: &DatabaseTransaction,
    due: &mut [message::Model],
) -> Result<(), Fault> {
    let from: BTreeSet<&str> = due
        .iter()
        .filter(|row| waits(row))
        .filter_map(|row| row.sent_from.as_deref().filter(|from| from.starts_with('+')))
        .collect();
    if from.is_empty() {
        return Ok(());
    }
    let stocked: HashSet<String> = inventory_number::Entity::find()
        .select_only()
        .column(inventory_number::Column::Number)
        .filter(inventory_number::Column::Number.is_in(from.iter().copied()))
        .into_tuple()
        .all(txn)
        .await?
        .into_iter()
        .collect();
    if stocked.is_empty() {
        return Ok(());
    }
    let held: HashSet<(Uuid, String)> = phone_number::Entity::find()
        .select_only()
        .columns([phone_number::Column::AccountId, phone_number::Column::Number])
        .filter(phone_number::Column::Number.is_in(from.iter().copied()))
        // Said twice: the first finds the index.
        .filter(phone_number::Entity::is_held())
        .filter(phone_number::Column::Status.eq(PhoneNumberStatus::Active))
        .into_tuple()
        .all(txn)
        .await?
        .into_iter()
        .collect();
    let mut lost = Vec::new();
    for row in due.iter_mut().filter(|row| waits(row)) {
        let Some(from) = row.sent_from.clone().filter(|from| stocked.contains(from)) else {
            continue;
        };
        if !held.contains(&(row.account_id, from)) {
            (row.sender_id, row.sent_from) = (None, None);
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

/// As [`message::Entity::is_unclaimed`].
fn waits(row: &message::Model) -> bool {
    matches!(row.status, MessageStatus::Scheduled | MessageStatus::Queued)
}

/// The sender that has a number.
pub(super) async fn sender_of(
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<Option<sender::Model>, Fault> {
    let senders = sender::Entity::owned_by(number.account_id);
    Ok(senders.filter(sender::Column::PhoneNumberId.eq(number.id)).one(txn).await?)
}

/// Messages that wait to go out from a number, which the index `message_of_sender_unclaimed` finds.
fn waits_from(number: &phone_number::Model) -> Condition {
    Condition::all()
        .add(message::Column::AccountId.eq(number.account_id))
        .add(message::Column::SenderId.is_not_null())
        .add(message::Column::SentFrom.eq(&number.number))
        .add(message::Entity::is_unclaimed())
}
