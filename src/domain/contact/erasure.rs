//! Deletes a contact and erases its personal data from the account's messages: those sent to the contact and those sent
//! to one of its addresses. The recipient, subject, text, HTML and contact of such a message are erased. The carrier's
//! error text is erased because it may name the recipient, and the hash of the input is erased because the recipient
//! could be guessed from it. The message keeps its cost, status, country and idempotency key. So totals stay correct,
//! and a repeated send is refused as a conflict instead of creating a second message. `metadata` and opt-outs are kept.
//!
//! A message that is waiting for delivery blocks the erasure (`CONTACT_IN_USE`). Otherwise the contact is marked under
//! the team's lock. From then on, messages to the contact are refused, and the contact cannot be changed or merged. The
//! messages are erased next, in small batches, and the contact is deleted last, under the team's lock. An interrupted
//! erasure can be repeated. On `SQLite` the worker then truncates the write-ahead log, which still contains the old
//! rows.

use entity::{
    api_key::Environment,
    audit_entry::AuditAction,
    contact, contact_address,
    message::{self, Column},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait,
    QueryFilter, Select,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    store::{BUSY, addresses_in, lock, set_busy},
    tag,
};
use crate::{
    app::App,
    db::has_id,
    domain::{
        Failure, Fault,
        api_key::authentication::{begin_for_messages, begin_in_team_as_account, hold_key},
        audit_log::{Entry, Settings},
        caller::LiveAccountCaller,
        channel::send_refusal::CONTACT_NOT_FOUND,
        message_batch, refused,
    },
};

entity::api_enum! {
    /// Reasons why deleteContact is refused.
    pub enum DeleteContactRefusal {
        /// The account has no such contact.
        NotFound,
        /// A message to one of the contact's addresses is waiting to be sent, or the contact is being merged. Try again
        /// later.
        ContactInUse,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    pub contact_id: Uuid,
    /// Number of messages whose personal data was erased.
    pub messages: u64,
}

/// Deletes a contact and erases its data from the account's messages in both environments.
pub async fn delete(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<Erased, Failure<DeleteContactRefusal>> {
    let txn = app.db.begin_write_in_slot(account.account()).await?;
    hold_key(app, &txn, account).await?;
    let (contact, addresses) = lock_contact(&txn, account, id).await?;
    txn.rollback().await?;
    let read = app.read_as(account.account());
    check_none_waiting(&read, &messages_of(&contact, &addresses)).await?;

    let (contact, addresses) = mark(app, account, id).await?;
    let selects = messages_of(&contact, &addresses);
    // This is checked again, because a message may have been accepted before the contact was marked.
    if let Err(refusal) = check_none_waiting(&read, &selects).await {
        if contact.busy_with.is_none() {
            unmark(app, account, &contact).await?;
        }
        return Err(refusal);
    }
    // Most messages are erased without the team's lock, so that the lock is held only briefly below.
    let mut messages = 0;
    for select in &selects {
        loop {
            let batch = message_batch::batch_of(&read, not_waiting(select)).await?;
            let _slot = app.db.write_slot(account.account()).await?;
            messages += blank(&app.db.write, &contact, batch.messages).await?;
            if !batch.has_more {
                break;
            }
        }
    }

    let txn = begin_in_team_as_account(app, account).await?;
    let (contact, addresses) = lock_contact(&txn, account, id).await?;
    for select in &messages_of(&contact, &addresses) {
        loop {
            let batch = message_batch::batch_of(&*txn, not_waiting(select)).await?;
            messages += blank(&*txn, &contact, batch.messages).await?;
            if !batch.has_more {
                break;
            }
        }
    }
    tag::delete(&txn, &contact).await?;
    contact_address::Entity::delete_many()
        .filter(contact_address::Column::AccountId.eq(contact.account_id))
        .filter(contact_address::Column::ContactId.eq(contact.id))
        .exec(&txn)
        .await?;
    contact::Entity::delete_by_id(contact.id).exec(&txn).await?;
    let counts = Settings::from([
        ("addresses", json!(addresses.len())),
        ("messagesErased", json!(messages)),
    ]);
    txn.commit(app, Entry::of(AuditAction::DeleteContact, contact.id).made(counts)).await?;
    app.erased.notify_one();
    Ok(Erased { contact_id: contact.id, messages })
}

/// Marks the contact as being deleted. Returns the contact as it was before, with its addresses.
async fn mark(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<(contact::Model, Vec<contact_address::Model>), Failure<DeleteContactRefusal>> {
    let txn = begin_for_messages(app, account.account()).await?;
    let (contact, addresses) = lock_contact(&txn, account, id).await?;
    set_busy(&txn, &contact, Some(contact.id)).await?;
    txn.commit().await?;
    Ok((contact, addresses))
}

/// Removes the mark if the erasure is refused before anything was erased.
async fn unmark(
    app: &App,
    account: &LiveAccountCaller,
    contact: &contact::Model,
) -> Result<(), Fault> {
    let txn = begin_for_messages(app, account.account()).await?;
    set_busy(&txn, contact, None).await?;
    Ok(txn.commit().await?)
}

/// Locks the contact, and returns it with its addresses. Refuses the deletion while the contact is being merged.
async fn lock_contact(
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<(contact::Model, Vec<contact_address::Model>), Failure<DeleteContactRefusal>> {
    let contact = lock(txn, account.account_id(), id)
        .await?
        .ok_or_else(|| refused(DeleteContactRefusal::NotFound, &["id"], CONTACT_NOT_FOUND))?;
    if contact.busy_with.is_some_and(|busy_with| busy_with != contact.id) {
        return Err(refused(DeleteContactRefusal::ContactInUse, &["id"], BUSY));
    }
    let addresses = addresses_in(txn, &contact).await?;
    Ok((contact, addresses))
}

/// Returns a query for the messages that were sent to a contact, and a query for each of the contact's addresses. Each
/// query uses an index.
fn messages_of(
    contact: &contact::Model,
    addresses: &[contact_address::Model],
) -> Vec<Select<message::Entity>> {
    let of_account = || message::Entity::find().filter(Column::AccountId.eq(contact.account_id));
    let mut all = vec![of_account().filter(Column::ContactId.eq(contact.id))];
    for environment in [Environment::Live, Environment::Test] {
        all.extend(addresses.iter().map(|address| {
            of_account()
                .filter(Column::Environment.eq(environment))
                .filter(Column::Recipient.eq(&address.address))
                .filter(Column::Channel.eq(address.channel))
        }));
    }
    all
}

/// Restricts the query to messages that are not waiting for delivery.
fn not_waiting(messages: &Select<message::Entity>) -> Select<message::Entity> {
    messages.clone().filter(message::Entity::is_waiting().not())
}

/// Refuses the erasure if one of these messages is waiting for delivery.
async fn check_none_waiting<C: ConnectionTrait>(
    db: &C,
    selects: &[Select<message::Entity>],
) -> Result<(), Failure<DeleteContactRefusal>> {
    for select in selects {
        let waiting = select.clone().filter(message::Entity::is_waiting());
        if waiting.one(db).await?.is_some() {
            let message =
                "A message to this contact is waiting for delivery. Cancel it, or try again later.";
            return Err(refused(DeleteContactRefusal::ContactInUse, &["id"], message));
        }
    }
    Ok(())
}

/// Erases the personal data of these messages, except those that are waiting for delivery. Returns the number of erased
/// messages.
async fn blank<C: ConnectionTrait>(
    db: &C,
    contact: &contact::Model,
    messages: Vec<Uuid>,
) -> Result<u64, Fault> {
    if messages.is_empty() {
        return Ok(0);
    }
    let blanked = message::ActiveModel {
        recipient: Set(String::new()),
        subject: Set(None),
        text: Set(String::new()),
        html: Set(None),
        contact_id: Set(None),
        error_message: Set(None),
        // An empty hash matches no input, so a repeated send is always refused as a conflict.
        input_hash: Set(Vec::new()),
        ..Default::default()
    };
    let written = message::Entity::update_many()
        .set(blanked)
        .filter(Column::AccountId.eq(contact.account_id))
        .filter(has_id(db.get_database_backend(), messages))
        .filter(message::Entity::is_waiting().not())
        .exec(db)
        .await?;
    Ok(written.rows_affected)
}
