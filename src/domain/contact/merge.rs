//! Merges two contacts of an account that represent the same person.

use std::collections::BTreeSet;

use entity::{audit_entry::AuditAction, contact, contact_address, message};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait as _, DatabaseTransaction,
    EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    address::ADDRESSES_PER_CONTACT_MAX,
    store::{BUSY, addresses_in, set_busy, write},
    tag::{self, TAGS_PER_CONTACT_MAX},
};
use crate::{
    app::App,
    db::has_id,
    domain::{
        Failure, Fault,
        api_key::authentication::{begin_in_team_as_account, hold_key},
        audit_log::{Entry, Settings},
        caller::LiveAccountCaller,
        channel::send_refusal::CONTACT_NOT_FOUND,
        message_batch, refused,
    },
};

entity::api_enum! {
    /// Reasons why mergeContacts is refused.
    pub enum MergeContactsRefusal {
        /// The account has no such contact.
        NotFound,
        /// Both ids belong to the same contact.
        SameContact,
        /// The contacts have more than 20 addresses in total.
        TooManyAddresses,
        /// The contacts have more than 50 tags in total.
        TooManyTags,
        /// One of the contacts is being deleted, or merged with another contact.
        ContactInUse,
    }
}

/// The two contacts of a merge, with their addresses and the tags of both.
struct ContactPair {
    kept: contact::Model,
    merged: contact::Model,
    kept_addresses: Vec<contact_address::Model>,
    moved_addresses: Vec<contact_address::Model>,
    tags: BTreeSet<String>,
}

/// Moves the addresses, tags and messages of one contact to another contact, and then deletes the first contact. The
/// other contact keeps its own fields and primary addresses. The messages are moved first, in batches, because their
/// number is unlimited. The first batch marks both contacts, so that nothing else changes them until the merge is
/// complete. The rest is done under the team's lock. No message is accepted under this lock, so no message keeps a
/// reference to the deleted contact. An interrupted merge can be repeated.
pub async fn merge(
    app: &App,
    account: &LiveAccountCaller,
    keep: Option<Uuid>,
    merge: Option<Uuid>,
) -> Result<contact::Model, Failure<MergeContactsRefusal>> {
    if keep.is_some() && keep == merge {
        let message = "A contact cannot be merged into itself.";
        let field = &["input", "mergeId"];
        return Err(refused(MergeContactsRefusal::SameContact, field, message));
    }
    loop {
        let of_merged = messages_of(account.account_id(), merge);
        let batch = message_batch::batch_of(&app.read_as(account.account()), of_merged).await?;
        if batch.messages.is_empty() {
            break;
        }
        let txn = app.db.begin_write_in_slot(account.account()).await?;
        hold_key(app, &txn, account).await?;
        let ContactPair { kept, merged, .. } = lock_pair(&txn, account, keep, merge).await?;
        if kept.busy_with.is_none() {
            set_busy(&txn, &kept, Some(merged.id)).await?;
            set_busy(&txn, &merged, Some(kept.id)).await?;
        }
        move_messages(&txn, &batch.messages, &merged, &kept).await?;
        txn.commit().await?;
        if !batch.has_more {
            break;
        }
    }

    let txn = begin_in_team_as_account(app, account).await?;
    let pair = lock_pair(&txn, account, keep, merge).await?;
    let ContactPair { kept, merged, kept_addresses, moved_addresses, tags } = pair;
    // On a channel that both contacts have, the kept contact's primary address stays primary.
    let channels = kept_addresses.iter().map(|address| address.channel);
    let of_merged = Condition::all()
        .add(contact_address::Column::AccountId.eq(merged.account_id))
        .add(contact_address::Column::ContactId.eq(merged.id));
    contact_address::Entity::update_many()
        .set(contact_address::ActiveModel { is_primary: Set(false), ..Default::default() })
        .filter(of_merged.clone())
        .filter(contact_address::Column::Channel.is_in(channels))
        .exec(&txn)
        .await?;
    contact_address::Entity::update_many()
        .set(contact_address::ActiveModel { contact_id: Set(kept.id), ..Default::default() })
        .filter(of_merged)
        .exec(&txn)
        .await?;
    // These messages were accepted after the last batch.
    let messages = messages_of(merged.account_id, Some(merged.id));
    let messages = messages.select_only().column(message::Column::Id);
    let messages: Vec<Uuid> = messages.into_tuple().all(&txn).await?;
    move_messages(&txn, &messages, &merged, &kept).await?;
    tag::delete(&txn, &merged).await?;
    tag::add(&txn, &kept, tags).await?;
    contact::Entity::delete_by_id(merged.id).exec(&txn).await?;
    let free = contact::ActiveModel { busy_with: Set(None), ..Default::default() };
    let changed = write(app, &txn, kept, free).await?;
    let counts = Settings::from([
        ("mergedContactId", json!(merged.id)),
        ("addressesMoved", json!(moved_addresses.len())),
    ]);
    txn.commit(app, Entry::of(AuditAction::MergeContacts, changed.id).made(counts)).await?;
    Ok(changed)
}

/// Locks both contacts. Refuses the merge if the result would exceed a limit or if another change of one of the
/// contacts is in progress.
async fn lock_pair(
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
    keep: Option<Uuid>,
    merge: Option<Uuid>,
) -> Result<ContactPair, Failure<MergeContactsRefusal>> {
    use MergeContactsRefusal as Refusal;
    let found = lock_all(txn, account, [keep, merge].into_iter().flatten()).await?;
    let find = |id: Option<Uuid>| found.iter().find(|contact| Some(contact.id) == id).cloned();
    let kept = find(keep)
        .ok_or_else(|| refused(Refusal::NotFound, &["input", "keepId"], CONTACT_NOT_FOUND))?;
    let merged = find(merge)
        .ok_or_else(|| refused(Refusal::NotFound, &["input", "mergeId"], CONTACT_NOT_FOUND))?;

    let is_free = kept.busy_with.is_none() && merged.busy_with.is_none();
    let has_begun = kept.busy_with == Some(merged.id) && merged.busy_with == Some(kept.id);
    if !is_free && !has_begun {
        return Err(refused(Refusal::ContactInUse, &["input"], BUSY));
    }

    let kept_addresses = addresses_in(txn, &kept).await?;
    let moved_addresses = addresses_in(txn, &merged).await?;
    if kept_addresses.len() + moved_addresses.len() > ADDRESSES_PER_CONTACT_MAX {
        let message = "The merged contact would have more than 20 addresses. Remove some first.";
        return Err(refused(Refusal::TooManyAddresses, &["input"], message));
    }
    let mut tags = tag::tags_in(txn, &kept).await?;
    tags.extend(tag::tags_in(txn, &merged).await?);
    if tags.len() > TAGS_PER_CONTACT_MAX {
        let message = "The merged contact would have more than 50 tags. Remove some first.";
        return Err(refused(Refusal::TooManyTags, &["input"], message));
    }
    Ok(ContactPair { kept, merged, kept_addresses, moved_addresses, tags })
}

/// Locks the existing contacts with these ids, and returns them. They are locked in the order of their ids, so that two
/// merges cannot deadlock.
async fn lock_all(
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<Vec<contact::Model>, Fault> {
    let contacts = contact::Entity::owned_by(account.account_id())
        .filter(contact::Column::Id.is_in(ids))
        .order_by_asc(contact::Column::Id)
        .lock_exclusive();
    Ok(contacts.all(txn).await?)
}

/// Selects the messages sent to a contact. The query uses the index `message_of_contact`.
fn messages_of(account_id: Uuid, contact_id: Option<Uuid>) -> Select<message::Entity> {
    message::Entity::find()
        .filter(message::Column::AccountId.eq(account_id))
        .filter(message::Column::ContactId.eq(contact_id.unwrap_or_default()))
}

/// Moves these messages from one contact to another, unless another call moved them already.
async fn move_messages(
    txn: &DatabaseTransaction,
    messages: &[Uuid],
    from: &contact::Model,
    to: &contact::Model,
) -> Result<(), Fault> {
    message::Entity::update_many()
        .set(message::ActiveModel { contact_id: Set(Some(to.id)), ..Default::default() })
        .filter(has_id(txn.get_database_backend(), messages.iter().copied()))
        .filter(message::Column::AccountId.eq(from.account_id))
        .filter(message::Column::ContactId.eq(from.id))
        .exec(txn)
        .await?;
    Ok(())
}
