//! Merging two contacts of an account that turned out to be one person.

use std::collections::BTreeSet;

use entity::{audit_entry::AuditAction, contact, contact_address, message};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait,
    QueryFilter, QueryOrder, QuerySelect, Select,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Failure, Fault,
    audit_log::{Entry, Settings},
    authentication::{begin_in_team_as_account, hold_key},
    backlog,
    caller::LiveAccountCaller,
    contact::{NOT_FOUND, write},
    contact_address::{ADDRESSES_PER_CONTACT_MAX, addresses_in},
    contact_tag::{self, TAGS_PER_CONTACT_MAX},
    refused,
};
use crate::{App, db::has_id};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeContactsRefusal {
    NotFound,
    SameContact,
    TooManyAddresses,
    TooManyTags,
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
/// may be any number of them. The rest follows under the team's lock, under which no message is accepted:
/// none is left with a contact that is gone. A merge that is cut off is simply repeated.
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
    let txn = app.db.begin_write().await?;
    hold_key(app, &txn, account).await?;
    let Both { kept, merged, .. } = mergeable(&txn, account, keep, merge).await?;
    txn.rollback().await?;
    loop {
        let step = backlog::step_of(&app.db.read, messages_of(&merged)).await?;
        move_messages(&app.db.write, step.messages, &merged, &kept).await?;
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
    let messages = messages_of(&merged).select_only().column(message::Column::Id);
    let messages: Vec<Uuid> = messages.into_tuple().all(&txn).await?;
    move_messages(&txn, messages, &merged, &kept).await?;
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

/// Both contacts, locked, unless the one would have too much of the other.
async fn mergeable(
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
    keep: Option<Uuid>,
    merge: Option<Uuid>,
) -> Result<Both, Failure<MergeContactsRefusal>> {
    use MergeContactsRefusal as Refusal;
    // Both in id order, so that two merges never wait for each other.
    let both = contact::Entity::owned_by(account.account_id())
        .filter(contact::Column::Id.is_in([keep, merge].into_iter().flatten()))
        .order_by_asc(contact::Column::Id)
        .lock_exclusive()
        .all(txn)
        .await?;
    let find = |id: Option<Uuid>| both.iter().find(|contact| Some(contact.id) == id).cloned();
    let kept =
        find(keep).ok_or_else(|| refused(Refusal::NotFound, &["input", "keepId"], NOT_FOUND))?;
    let merged =
        find(merge).ok_or_else(|| refused(Refusal::NotFound, &["input", "mergeId"], NOT_FOUND))?;

    let (own, moved) = (addresses_in(txn, &kept).await?, addresses_in(txn, &merged).await?);
    if own.len() + moved.len() > ADDRESSES_PER_CONTACT_MAX {
        let message = "The contact would have more than 20 addresses.";
        return Err(refused(Refusal::TooManyAddresses, &["input"], message));
    }
    let mut tags = contact_tag::tags_in(txn, &kept).await?;
    tags.extend(contact_tag::tags_in(txn, &merged).await?);
    if tags.len() > TAGS_PER_CONTACT_MAX {
        let message = "The contact would have more than 50 tags.";
        return Err(refused(Refusal::TooManyTags, &["input"], message));
    }
    Ok(Both { kept, merged, own, moved, tags })
}

/// The messages that were sent to a contact, which the index `message_of_contact` finds.
fn messages_of(contact: &contact::Model) -> Select<message::Entity> {
    message::Entity::find()
        .filter(message::Column::AccountId.eq(contact.account_id))
        .filter(message::Column::ContactId.eq(contact.id))
}

async fn move_messages<C: ConnectionTrait>(
    db: &C,
    messages: Vec<Uuid>,
    from: &contact::Model,
    to: &contact::Model,
) -> Result<(), Fault> {
    message::Entity::update_many()
        .set(message::ActiveModel { contact_id: Set(Some(to.id)), ..Default::default() })
        .filter(has_id(db.get_database_backend(), messages))
        .filter(message::Column::ContactId.eq(from.id))
        .exec(db)
        .await?;
    Ok(())
}
