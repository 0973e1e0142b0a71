//! What uses a phone number, so that nobody gives it away by mistake: a sender that has it, and
//! messages that wait to go out from it, for a message keeps what it comes from. The one place that
//! knows: whatever comes to refer to numbers says so here.
//!
//! A message is given its number before it is judged, and waits for up to 30 days. So it is looked at
//! again when it is claimed, and no message goes out from a number that its account has no more.

use std::collections::{BTreeSet, HashSet};

use entity::{
    inventory_number, message,
    phone_number::{self, PhoneNumberStatus},
    sender,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect,
};
use uuid::Uuid;

use crate::{
    app::App,
    db::has_id,
    domain::{Fault, message::delivery::poll::Due},
};

/// What stands against giving a number away, for people; `None` if nothing does. Asked under the
/// lock of the team.
pub(in crate::domain) async fn find(
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<Option<&'static str>, Fault> {
    if sender_of(txn, number).await?.is_some() {
        return Ok(Some("A sender uses the number; take it away from the sender first."));
    }
    Ok(is_waited_from(txn, number).await?.then_some(
        "A message waits to go out from the number; cancel it, or try again when it was handed \
         over.",
    ))
}

/// Takes the number away from the sender that has it, under the lock of the team: it goes to another
/// account, or back to the inventory because its month was not paid. Messages that wait to go out
/// from it lose it when they are claimed ([`drop_lost`]).
pub(in crate::domain) async fn detach(
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
pub(in crate::domain) async fn drop_lost(
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
    for row in due.iter().filter(|row| row.is_unclaimed()) {
        let Some(from) = row.sent_from.clone().filter(|from| stocked.contains(from)) else {
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

/// The sender that has a number.
pub(in crate::domain) async fn sender_of(
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<Option<sender::Model>, Fault> {
    let senders = sender::Entity::owned_by(number.account_id);
    Ok(senders.filter(sender::Column::PhoneNumberId.eq(number.id)).one(txn).await?)
}

/// Whether a message waits to go out from a number. By each sender of the account, of which there are few,
/// the index `message_of_sender_unclaimed` finds it, however many messages wait.
async fn is_waited_from(
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<bool, Fault> {
    let senders = sender::Entity::owned_by(number.account_id).select_only();
    let senders: Vec<Uuid> = senders.column(sender::Column::Id).into_tuple().all(txn).await?;
    let waiting: Option<Uuid> = message::Entity::find()
        .select_only()
        .column(message::Column::Id)
        .filter(message::Column::AccountId.eq(number.account_id))
        .filter(message::Column::SenderId.is_in(senders))
        .filter(message::Column::SentFrom.eq(&number.number))
        .filter(message::Entity::is_unclaimed())
        .into_tuple()
        .one(txn)
        .await?;
    Ok(waiting.is_some())
}
