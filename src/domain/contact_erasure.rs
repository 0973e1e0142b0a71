//! Erasing a person. The contact and its addresses go, and each message of the account to one of
//! these addresses, or sent to the contact when it had others, loses its recipient, subject, text
//! and HTML, the contact, what a carrier said about it, which may name the recipient, and the hash of its
//! input, by which the recipient could be found by trying. It keeps its money, status, country and
//! idempotency key, so books and usage hold, and a repeat is a conflict and never a second message; what
//! the account itself wrote into `metadata` and `idempotencyKey` is left alone, and so is an
//! opt-out, which protects the person.
//!
//! What waits for its hand-over must still be delivered, so it stands against the erasure
//! (`CONTACT_IN_USE`): nothing is erased by halves, and no address is left behind unsaid. The messages
//! are blanked first, in steps by the index that lists them, each a statement of its own; the contact goes last,
//! under the team's lock, under which no message is accepted. So an erasure that is cut off is simply
//! repeated. On `SQLite` the worker then empties the write-ahead log, which still holds what was there. An erasure looks at every message of the account: an index by recipient would make that short, and every
//! send dearer.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    api_key::Environment,
    audit_entry::AuditAction,
    contact, contact_address,
    message::{self, Column},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait,
    ExprTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Failure, Fault,
    audit_log::{Entry, Settings},
    authentication::{begin_in_team_as_account, hold_key},
    caller::LiveAccountCaller,
    contact::{NOT_FOUND, locked},
    contact_address::addresses_in,
    contact_tag, refused,
};
use crate::App;

/// Messages that a step looks at.
const STEP: u64 = 10_000;
/// How far the clocks of several processes may lie apart, and a batch between its ids and its commit.
const MOMENTS_APART: TimeDelta = TimeDelta::seconds(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteContactRefusal {
    NotFound,
    ContactInUse,
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
    let begun = app.clock.now();
    let txn = app.db.begin_write().await?;
    hold_key(app, &txn, account).await?;
    let (contact, addresses) = erasable(&txn, account, id).await?;
    txn.rollback().await?;

    // All messages, then those that were accepted meanwhile, and so briefly under the lock.
    let is_theirs = is_theirs(&contact, &addresses);
    let mut messages = blank(&app.db.write, account, &is_theirs, None).await?;
    let again = app.clock.now();
    messages += blank(&app.db.write, account, &is_theirs, Some(begun)).await?;

    let txn = begin_in_team_as_account(app, account).await?;
    let (contact, addresses_now) = erasable(&txn, account, id).await?;
    if addresses_now != addresses {
        let message = "The contact was changed at the same time; try again.";
        return Err(refused(DeleteContactRefusal::ContactInUse, &["id"], message));
    }
    messages += blank(&txn, account, &is_theirs, Some(again)).await?;
    contact_tag::delete(&txn, &contact).await?;
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

/// The contact, locked, with its addresses, unless a message to one of them waits for its hand-over.
async fn erasable(
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<(contact::Model, Vec<contact_address::Model>), Failure<DeleteContactRefusal>> {
    use DeleteContactRefusal as Refusal;
    let contact = locked(txn, account.account_id(), id)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["id"], NOT_FOUND))?;
    let addresses = addresses_in(txn, &contact).await?;
    let waiting = message::Entity::find()
        .filter(Column::TeamId.eq(account.team_id()))
        .filter(Column::AccountId.eq(account.account_id()))
        .filter(message::Entity::is_waiting())
        .filter(is_theirs(&contact, &addresses))
        .one(txn)
        .await?;
    if waiting.is_some() {
        let message = "A message to this contact waits to be handed over; try again when it was.";
        return Err(refused(Refusal::ContactInUse, &["id"], message));
    }
    Ok((contact, addresses))
}

/// The messages to a contact: to one of these addresses, or to what it had for one when they were
/// sent.
fn is_theirs(contact: &contact::Model, addresses: &[contact_address::Model]) -> Condition {
    let is_to_contact = Condition::any().add(Column::ContactId.eq(contact.id));
    addresses.iter().fold(is_to_contact, |any, address| {
        let is_one = Condition::all()
            .add(Column::Channel.eq(address.channel))
            .add(Column::Recipient.eq(&address.address));
        any.add(is_one)
    })
}

/// Takes the person out of those of the account's messages that are theirs, of those that were
/// accepted since about that moment and do not wait for their hand-over, and says from how many.
async fn blank<C: ConnectionTrait>(
    db: &C,
    account: &LiveAccountCaller,
    is_theirs: &Condition,
    since: Option<DateTime<Utc>>,
) -> Result<u64, Fault> {
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
    let mut count = 0;
    for environment in [Environment::Live, Environment::Test] {
        let mut after = since.map(|since| first_id_of(since - MOMENTS_APART));
        loop {
            let mut step = Condition::all()
                .add(Column::AccountId.eq(account.account_id()))
                .add(Column::Environment.eq(environment));
            step = step.add_option(after.map(|after| Column::Id.gt(after)));
            let until: Option<Uuid> = message::Entity::find()
                .select_only()
                .column(Column::Id)
                .filter(step.clone())
                .order_by_asc(Column::Id)
                .offset(STEP - 1)
                .limit(1)
                .into_tuple()
                .one(db)
                .await?;
            let written = message::Entity::update_many()
                .set(blanked.clone())
                .filter(step.add_option(until.map(|until| Column::Id.lte(until))))
                .filter(message::Entity::is_waiting().not())
                .filter(is_theirs.clone())
                .exec(db)
                .await?;
            count += written.rows_affected;
            match until {
                Some(until) => after = Some(until),
                None => break,
            }
        }
    }
    Ok(count)
}

/// The lowest id of a moment: an id begins with its milliseconds.
fn first_id_of(moment: DateTime<Utc>) -> Uuid {
    let millis = u128::try_from(moment.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}
