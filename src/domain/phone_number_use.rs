//! What uses a phone number, so that nobody gives it away by mistake: a sender that has it, and
//! messages that wait to go out from it, for a message keeps what it comes from. The one place that
//! knows: whatever comes to refer to numbers says so here.

use entity::{message, phone_number, sender};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter,
};

use super::Fault;
use crate::App;

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

/// Takes the number away from whatever uses it, under the lock of the team: it goes to another
/// account, or back to the inventory because its month was not paid. Messages that wait to go out
/// from it go out without a sender, for it may be anybody's by then.
pub(super) async fn detach(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<(), Fault> {
    let now = app.clock.now();
    sender::Entity::update_many()
        .set(sender::ActiveModel {
            phone_number_id: Set(None),
            updated_at: Set(now),
            ..Default::default()
        })
        .filter(sender::Column::AccountId.eq(number.account_id))
        .filter(sender::Column::PhoneNumberId.eq(number.id))
        .exec(txn)
        .await?;
    message::Entity::update_many()
        .set(message::ActiveModel {
            sender_id: Set(None),
            sent_from: Set(None),
            updated_at: Set(now),
            ..Default::default()
        })
        .filter(waits_from(number))
        .exec(txn)
        .await?;
    Ok(())
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
