//! When a message goes out: not before `sendAt`, not from `validUntil` on, and not at all once its
//! account has canceled it, which it can until a worker has claimed it. What does not go out is paid
//! back once (R12), by whichever way it ends.

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
    /// Why a message was not canceled.
    pub enum CancelMessageRefusal {
        /// The account has no such message in the environment of the key in use.
        NotFound,
        /// It is being handed over, or was.
        AlreadySent,
        /// It has FAILED or EXPIRED, and was refunded.
        AlreadyEnded,
    }
}

/// Cancels a message of the caller's account and environment that no worker has claimed, and pays it
/// back. Canceling what is CANCELED changes nothing.
pub async fn cancel(
    app: &App,
    caller: &AccountCaller,
    id: Option<Uuid>,
) -> Result<message::Model, Failure<CancelMessageRefusal>> {
    use CancelMessageRefusal as Refusal;
    let not_found = || refused(Refusal::NotFound, &["id"], "There is no such message.");
    let already_sent = || {
        let message = "The message is being handed over, or was; it cannot be called back.";
        refused(Refusal::AlreadySent, &["id"], message)
    };
    // A malformed id is looked for like one that nobody has.
    let id = id.unwrap_or_default();

    let txn = begin_for_messages(app, caller).await?;
    let found = find(&txn, caller, id).await?.ok_or_else(not_found)?;
    match found.status {
        MessageStatus::Scheduled | MessageStatus::Queued => {}
        MessageStatus::Canceled => return Ok(found),
        MessageStatus::Failed | MessageStatus::Expired => {
            let message = "The message has ended before and was refunded.";
            return Err(refused(Refusal::AlreadyEnded, &["id"], message));
        }
        MessageStatus::Sending
        | MessageStatus::Sent
        | MessageStatus::Delivered
        | MessageStatus::Undelivered
        | MessageStatus::Unknown => return Err(already_sent()),
    }
    let because = ("CANCELED", "The account canceled the message before delivery.");
    if billing::cancel(app, &txn, caller.team_id, vec![id], because).await?.is_empty() {
        // A worker claimed it since it was looked at.
        return Err(already_sent());
    }
    let canceled = find(&txn, caller, id)
        .await?
        .ok_or(Fault::Broken("a canceled message is there until the commit"))?;
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
