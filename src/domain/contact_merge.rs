//! Merging two contacts of an account that turned out to be one person.

use entity::{audit_entry::AuditAction, contact, contact_address};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Failure,
    audit_log::{Entry, Settings},
    authentication::begin_as_account,
    caller::LiveAccountCaller,
    contact::{NOT_FOUND, write},
    contact_address::{ADDRESSES_PER_CONTACT_MAX, addresses_in},
    contact_tag::{self, TAGS_PER_CONTACT_MAX},
    refused,
};
use crate::App;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeContactsRefusal {
    NotFound,
    SameContact,
    TooManyAddresses,
    TooManyTags,
}

/// Moves the addresses and tags of one contact to another and deletes it; whatever else the other has,
/// it keeps, its primary addresses too.
pub async fn merge(
    app: &App,
    account: &LiveAccountCaller,
    keep: Option<Uuid>,
    merge: Option<Uuid>,
) -> Result<contact::Model, Failure<MergeContactsRefusal>> {
    use MergeContactsRefusal as Refusal;
    if keep.is_some() && keep == merge {
        let message = "A contact cannot be merged into itself.";
        return Err(refused(Refusal::SameContact, &["input", "mergeId"], message));
    }
    let txn = begin_as_account(app, account).await?;
    // Both in id order, so that two merges never wait for each other.
    let both = contact::Entity::owned_by(account.account_id())
        .filter(contact::Column::Id.is_in([keep, merge].into_iter().flatten()))
        .order_by_asc(contact::Column::Id)
        .lock_exclusive()
        .all(&txn)
        .await?;
    let find = |id: Option<Uuid>| both.iter().find(|contact| Some(contact.id) == id).cloned();
    let kept =
        find(keep).ok_or_else(|| refused(Refusal::NotFound, &["input", "keepId"], NOT_FOUND))?;
    let merged =
        find(merge).ok_or_else(|| refused(Refusal::NotFound, &["input", "mergeId"], NOT_FOUND))?;

    let (own, moved) = (addresses_in(&txn, &kept).await?, addresses_in(&txn, &merged).await?);
    if own.len() + moved.len() > ADDRESSES_PER_CONTACT_MAX {
        let message = "The contact would have more than 20 addresses.";
        return Err(refused(Refusal::TooManyAddresses, &["input"], message));
    }
    let mut tags = contact_tag::tags_in(&txn, &kept).await?;
    tags.extend(contact_tag::tags_in(&txn, &merged).await?);
    if tags.len() > TAGS_PER_CONTACT_MAX {
        let message = "The contact would have more than 50 tags.";
        return Err(refused(Refusal::TooManyTags, &["input"], message));
    }
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
    contact_tag::delete(&txn, &merged).await?;
    contact_tag::add(&txn, &kept, tags).await?;
    contact::Entity::delete_by_id(merged.id).exec(&txn).await?;
    let changed = write(app, &txn, kept, contact::ActiveModel::default()).await?;
    let counts = Settings::from([
        ("mergedContactId", json!(merged.id)),
        ("addressesMoved", json!(moved.len())),
    ]);
    txn.commit(app, Entry::of(AuditAction::MergeContacts, changed.id).made(counts)).await?;
    Ok(changed)
}
