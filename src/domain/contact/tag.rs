//! The tags of contacts: short labels that the account assigns and filters by. A contact cannot have the same tag
//! twice.

use std::collections::BTreeSet;

use entity::{
    contact,
    contact_tag::{self, Column, Entity},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter,
    sea_query::OnConflict,
};

use crate::domain::{Fault, validate};

/// Maximum number of tags of a contact.
pub const TAGS_PER_CONTACT_MAX: usize = 50;

pub(in crate::domain) const TAGS_RULE: &str =
    "A contact must have at most 50 tags, each with 1 to 64 characters and no control characters.";

/// Returns the trimmed tags without duplicates; `None` if a tag is invalid or there are too many.
pub(in crate::domain) fn checked(tags: &[String]) -> Option<BTreeSet<String>> {
    let mut distinct = BTreeSet::new();
    for tag in tags {
        distinct.insert(validate::label(tag)?);
        if distinct.len() > TAGS_PER_CONTACT_MAX {
            return None;
        }
    }
    Some(distinct)
}

pub(in crate::domain) async fn tags_in(
    txn: &DatabaseTransaction,
    contact: &contact::Model,
) -> Result<BTreeSet<String>, Fault> {
    let tags = Entity::owned_by(contact.account_id)
        .filter(Column::ContactId.eq(contact.id))
        .all(txn)
        .await?;
    Ok(tags.into_iter().map(|row| row.tag).collect())
}

/// Adds tags to a contact; tags that it already has are ignored.
pub(in crate::domain) async fn add(
    txn: &DatabaseTransaction,
    contact: &contact::Model,
    tags: BTreeSet<String>,
) -> Result<(), Fault> {
    if tags.is_empty() {
        return Ok(());
    }
    let rows = tags.into_iter().map(|tag| contact_tag::ActiveModel {
        account_id: Set(contact.account_id),
        contact_id: Set(contact.id),
        tag: Set(tag),
        team_id: Set(contact.team_id),
    });
    let key = [Column::AccountId, Column::ContactId, Column::Tag];
    Entity::insert_many(rows)
        .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
        .exec_without_returning(txn)
        .await?;
    Ok(())
}

/// Removes all tags of a contact.
pub(in crate::domain) async fn delete(
    txn: &DatabaseTransaction,
    contact: &contact::Model,
) -> Result<(), Fault> {
    Entity::delete_many()
        .filter(Column::AccountId.eq(contact.account_id))
        .filter(Column::ContactId.eq(contact.id))
        .exec(txn)
        .await?;
    Ok(())
}
