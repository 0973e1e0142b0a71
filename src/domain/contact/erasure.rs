//! Erasing a person. The contact and its addresses go, and each message of the account to one of
//! these addresses, or sent to the contact when it had others, loses its recipient, subject, text
//! and HTML, the contact, what a carrier said about it, which may name the recipient, and the hash of its
//! input, by which the recipient could be found by trying. It keeps its money, status, country and
//! idempotency key, so books and usage hold, and a repeat is a conflict and never a second message; what
//! the account itself wrote into `metadata` and `idempotencyKey` is left alone, and so is an
//! opt-out, which protects the person.
//!
//! What waits for its hand-over must still be delivered, so it stands against the erasure (`CONTACT_IN_USE`), and
//! nothing is changed then. Otherwise the contact is marked first, under the team's lock, under which no message is
//! accepted: from then on no message to the contact is accepted, and the contact is neither changed nor merged. The
//! messages, which indexes find by contact and by recipient, are blanked next, in steps, each a statement of its own;
//! the contact goes last, under the team's lock. So an erasure that has begun is not refused any more, and one that is
//! cut off is simply repeated. A message that is sent to a bare address of the contact meanwhile is one that came after
//! the erasure. On `SQLite` the worker then empties the write-ahead log, which still holds what was there.

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
    store::{BUSY, addresses_in, locked, set_busy},
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
        refused,
    },
};

entity::api_enum! {
    /// Why a contact was not deleted.
    pub enum DeleteContactRefusal {
        /// The account has no such contact.
        NotFound,
        /// A message to one of its addresses waits to be handed over, or the contact is being merged. Try
        /// again when the message was handed over.
        ContactInUse,
    }
}

/// What was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    pub contact_id: Uuid,
    /// Messages that lost their person.
    pub messages: u64,
}

/// Deletes a contact and erases the person from the account's messages, of both environments.
pub async fn delete(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<Erased, Failure<DeleteContactRefusal>> {
    let txn = app.db.begin_write_in_turn(account.account()).await?;
    hold_key(app, &txn, account).await?;
    let (contact, addresses) = found(&txn, account, id).await?;
    txn.rollback().await?;
    let read = app.read_as(account.account());
    none_waits(&read, &messages_of(&contact, &addresses)).await?;

    let (contact, addresses) = begin(app, account, id).await?;
    let theirs = messages_of(&contact, &addresses);
    // Once more: what was accepted until the contact was marked.
    if let Err(refusal) = none_waits(&read, &theirs).await {
        if contact.busy_with.is_none() {
            give_up(app, account, &contact).await?;
        }
        return Err(refusal);
    }
    // What is there already, and so little is left to be done under the lock.
    let mut messages = 0;
    for theirs in &theirs {
        loop {
            let step = crate::domain::message_batch::batch_of(&read, done(theirs)).await?;
            let _turn = app.db.write_turn(account.account()).await?;
            messages += blank(&app.db.write, &contact, step.messages).await?;
            if !step.has_more {
                break;
            }
        }
    }

    let txn = begin_in_team_as_account(app, account).await?;
    let (contact, addresses) = found(&txn, account, id).await?;
    for theirs in &messages_of(&contact, &addresses) {
        loop {
            let step = crate::domain::message_batch::batch_of(&*txn, done(theirs)).await?;
            messages += blank(&*txn, &contact, step.messages).await?;
            if !step.has_more {
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

/// Marks the contact, unless that was done before, and gives it as it was, with its addresses.
async fn begin(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<(contact::Model, Vec<contact_address::Model>), Failure<DeleteContactRefusal>> {
    let txn = begin_for_messages(app, account.account()).await?;
    let (contact, addresses) = found(&txn, account, id).await?;
    set_busy(&txn, &contact, Some(contact.id)).await?;
    txn.commit().await?;
    Ok((contact, addresses))
}

/// Takes the mark away before anything was erased.
async fn give_up(
    app: &App,
    account: &LiveAccountCaller,
    contact: &contact::Model,
) -> Result<(), Fault> {
    let txn = begin_for_messages(app, account.account()).await?;
    set_busy(&txn, contact, None).await?;
    Ok(txn.commit().await?)
}

/// The contact, locked, with its addresses, unless it is being merged.
async fn found(
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<(contact::Model, Vec<contact_address::Model>), Failure<DeleteContactRefusal>> {
    let contact = locked(txn, account.account_id(), id)
        .await?
        .ok_or_else(|| refused(DeleteContactRefusal::NotFound, &["id"], CONTACT_NOT_FOUND))?;
    if contact.busy_with.is_some_and(|busy_with| busy_with != contact.id) {
        return Err(refused(DeleteContactRefusal::ContactInUse, &["id"], BUSY));
    }
    let addresses = addresses_in(txn, &contact).await?;
    Ok((contact, addresses))
}

/// The messages to a contact, each kind by an index of its own: to what it had for an address when they were
/// sent, and to one of these addresses.
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

/// Of these messages those that do not wait for their hand-over.
fn done(messages: &Select<message::Entity>) -> Select<message::Entity> {
    messages.clone().filter(message::Entity::is_waiting().not())
}

/// Refuses the erasure if one of these messages waits for its hand-over.
async fn none_waits<C: ConnectionTrait>(
    db: &C,
    theirs: &[Select<message::Entity>],
) -> Result<(), Failure<DeleteContactRefusal>> {
    for messages in theirs {
        let waiting = messages.clone().filter(message::Entity::is_waiting());
        if waiting.one(db).await?.is_some() {
            let message =
                "A message to this contact waits to be handed over; try again when it was.";
            return Err(refused(DeleteContactRefusal::ContactInUse, &["id"], message));
        }
    }
    Ok(())
}

/// Takes the person out of those of these messages that do not wait for their hand-over, and says from how many.
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
        // That of no input: a repeat is never taken for the same.
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
