//! Merging two contacts of an account that turned out to be one person.

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
        refused,
    },
};

entity::api_enum! {
    /// Why contacts were not merged.
    pub enum MergeContactsRefusal {
        /// The account has no such contact.
        NotFound,
        /// Both are the same contact.
        SameContact,
        /// Together they have more than 20 addresses.
        TooManyAddresses,
        /// Together they have more than 50 tags.
        TooManyTags,
        /// One of them is being deleted, or merged with another contact.
        ContactInUse,
    }
}

/// What is merged.
struct Both {
    kept: contact::Model,
    merged: contact::Model,
    own: Vec<contact_address::Model>,
    moved: Vec<contact_address::Model>,
    tags: BTreeSet<String>,
}

/// Moves the addresses, tags and messages of one contact to another and deletes it; whatever else
/// the other has, it keeps, its primary addresses too. The messages are moved first, in steps, for there
/// may be any number of them. The first step marks both contacts, so that nothing else changes them until the end and
/// the merge stays possible. The rest follows under the team's lock, under which no message is accepted: none is left
/// with a contact that is gone. A merge that is cut off is simply repeated.
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
        let step =
            crate::domain::message_batch::batch_of(&app.read_as(account.account()), of_merged)
                .await?;
        if step.messages.is_empty() {
            break;
        }
        let txn = app.db.begin_write_in_turn(account.account()).await?;
        hold_key(app, &txn, account).await?;
        let Both { kept, merged, .. } = mergeable(&txn, account, keep, merge).await?;
        if kept.busy_with.is_none() {
            set_busy(&txn, &kept, Some(merged.id)).await?;
            set_busy(&txn, &merged, Some(kept.id)).await?;
        }
        move_messages(&txn, &step.messages, &merged, &kept).await?;
        txn.commit().await?;
        if !step.has_more {
            break;
        }
    }

    let txn = begin_in_team_as_account(app, account).await?;
    let Both { kept, merged, own, moved, tags } = mergeable(&txn, account, keep, merge).await?;
    // A channel that both have keeps its primary address.
    let channels = own.iter().map(|address| address.channel);
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
    // Those that were accepted meanwhile.
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
        ("addressesMoved", json!(moved.len())),
    ]);
    txn.commit(app, Entry::of(AuditAction::MergeContacts, changed.id).made(counts)).await?;
    Ok(changed)
}

/// Both contacts, locked, unless the one would have too much of the other or another change of one of them has begun.
async fn mergeable(
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
    keep: Option<Uuid>,
    merge: Option<Uuid>,
) -> Result<Both, Failure<MergeContactsRefusal>> {
    use MergeContactsRefusal as Refusal;
    let both = locked(txn, account, [keep, merge].into_iter().flatten()).await?;
    let find = |id: Option<Uuid>| both.iter().find(|contact| Some(contact.id) == id).cloned();
    let kept = find(keep)
        .ok_or_else(|| refused(Refusal::NotFound, &["input", "keepId"], CONTACT_NOT_FOUND))?;
    let merged = find(merge)
        .ok_or_else(|| refused(Refusal::NotFound, &["input", "mergeId"], CONTACT_NOT_FOUND))?;

    let is_free = kept.busy_with.is_none() && merged.busy_with.is_none();
    let has_begun = kept.busy_with == Some(merged.id) && merged.busy_with == Some(kept.id);
    if !is_free && !has_begun {
        return Err(refused(Refusal::ContactInUse, &["input"], BUSY));
    }

    let (own, moved) = (addresses_in(txn, &kept).await?, addresses_in(txn, &merged).await?);
    if own.len() + moved.len() > ADDRESSES_PER_CONTACT_MAX {
        let message = "The contact would have more than 20 addresses.";
        return Err(refused(Refusal::TooManyAddresses, &["input"], message));
    }
    let mut tags = tag::tags_in(txn, &kept).await?;
    tags.extend(tag::tags_in(txn, &merged).await?);
    if tags.len() > TAGS_PER_CONTACT_MAX {
        let message = "The contact would have more than 50 tags.";
        return Err(refused(Refusal::TooManyTags, &["input"], message));
    }
    Ok(Both { kept, merged, own, moved, tags })
}

/// Those of these contacts of the account that are there, locked in id order, so that two merges never wait for each
/// other.
async fn locked(
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

/// The messages that were sent to a contact, which the index `message_of_contact` finds.
fn messages_of(account_id: Uuid, contact_id: Option<Uuid>) -> Select<message::Entity> {
    message::Entity::find()
        .filter(message::Column::AccountId.eq(account_id))
        .filter(message::Column::ContactId.eq(contact_id.unwrap_or_default()))
}

/// Moves those of these messages that are still of the one contact.
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
