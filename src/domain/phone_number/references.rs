//! Finds and removes the uses of a phone number: the sender that has the number, and the messages that are waiting to
//! be sent from it. This module ensures that a number in use is not released or transferred by mistake. Every new kind
//! of use must be added here.
//!
//! A message may wait for up to 30 days, so its number is checked again when it is claimed (`delivery::lost_number`).
//! So no message is sent from a number that its account no longer has.

use entity::{
    message,
    phone_number::{self},
    sender,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect,
};
use uuid::Uuid;

use crate::{app::App, domain::Fault};

/// Returns an error message that describes the use that prevents a release or transfer; `None` if the number is not in
/// use. The caller holds the team's lock.
pub(in crate::domain) async fn blocking_use(
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<Option<&'static str>, Fault> {
    if sender_of(txn, number).await?.is_some() {
        return Ok(Some("A sender uses the number. Remove it from the sender first."));
    }
    Ok(has_waiting_message(txn, number).await?.then_some(
        "A message from the number is waiting for delivery. Cancel it, or try again later.",
    ))
}

/// Removes the number from the sender that uses it, because the number is transferred or returned to the inventory.
/// Messages that are still waiting to be sent from the number are not changed here; their sender is cleared when the
/// worker claims them for delivery. The caller holds the team's lock.
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

/// Returns the sender that uses a number.
pub(in crate::domain) async fn sender_of(
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<Option<sender::Model>, Fault> {
    let senders = sender::Entity::owned_by(number.account_id);
    Ok(senders.filter(sender::Column::PhoneNumberId.eq(number.id)).one(txn).await?)
}

/// Returns whether a message is waiting to be sent from a number. The query lists the account's senders (at most 100),
/// so that the index `message_of_sender_unclaimed` can be used.
async fn has_waiting_message(
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
