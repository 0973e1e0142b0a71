//! What uses a phone number, so that nobody gives it away by mistake: a sender that has it, and
//! messages that wait to go out from it, for a message keeps what it comes from. The one place that
//! knows: whatever comes to refer to numbers says so here.
//!
//! A message is given its number before it is judged, and waits for up to 30 days. So it is looked at
//! again when it is claimed, and no message goes out from a number that its account has no more.

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
