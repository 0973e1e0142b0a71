//! Cancels a message that no worker has claimed yet, and refunds it. A message is refunded exactly once,
//! whether it is canceled, expires or fails.

use entity::message::{self, MessageStatus};
use sea_orm::{ColumnTrait, DatabaseTransaction, QueryFilter};
use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        Failure, Fault, api_key::authentication::begin_for_messages, billing,
        caller::AccountCaller, events::Change, refused,
    },
};

entity::api_enum! {
    /// Reasons why cancelMessage is refused.
    pub enum CancelMessageRefusal {
        /// Your account has no such message in the environment of the API key.
        NotFound,
        /// The message is being submitted to the carrier or was already submitted.
        AlreadySent,
        /// The message is already FAILED or EXPIRED and was refunded.
        AlreadyEnded,
    }
}

/// Cancels and refunds a message of the caller's account and environment. Canceling a CANCELED message changes nothing.
pub async fn cancel(
    app: &App,
    caller: &AccountCaller,
    id: Option<Uuid>,
) -> Result<message::Model, Failure<CancelMessageRefusal>> {
    use CancelMessageRefusal as Refusal;
    let not_found = || refused(Refusal::NotFound, &["id"], "There is no such message.");
    let already_sent = || {
        let message = "The message is being sent or has been sent, so it cannot be canceled.";
        refused(Refusal::AlreadySent, &["id"], message)
    };
    // A malformed id is treated like an unknown one.
    let id = id.unwrap_or_default();

    let txn = begin_for_messages(app, caller).await?;
    let found = find(&txn, caller, id).await?.ok_or_else(not_found)?;
    match found.status {
        MessageStatus::Scheduled | MessageStatus::Queued => {}
        MessageStatus::Canceled => return Ok(found),
        MessageStatus::Failed | MessageStatus::Expired => {
            let message = "The message has already failed or expired, and was refunded.";
            return Err(refused(Refusal::AlreadyEnded, &["id"], message));
        }
        MessageStatus::Sending
        | MessageStatus::Sent
        | MessageStatus::Delivered
        | MessageStatus::Undelivered
        | MessageStatus::Unknown => return Err(already_sent()),
    }
    let reason = ("CANCELED", "The account canceled the message before delivery.");
    if billing::cancel(app, &txn, caller.team_id, vec![id], reason).await?.is_empty() {
        // A worker claimed the message after it was read above.
        return Err(already_sent());
    }
    let canceled =
        find(&txn, caller, id).await?.ok_or(Fault::Broken("a canceled message exists"))?;
    txn.commit().await?;
    app.events.publish([Change::of_message(&canceled)]);
    Ok(canceled)
}

async fn find(
    txn: &DatabaseTransaction,
    caller: &AccountCaller,
    id: Uuid,
) -> Result<Option<message::Model>, Fault> {
    let own = message::Entity::owned_by(caller.account_id, caller.environment);
    Ok(own.filter(message::Column::Id.eq(id)).one(txn).await?)
}
