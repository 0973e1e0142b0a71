//! The tags of contacts: the account's own words, by which it finds them.

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

/// Tags of a contact at most.
pub const TAGS_PER_CONTACT_MAX: usize = 50;

pub(in crate::domain) const TAGS_RULE: &str =
    "A contact has at most 50 tags, each of 1 to 64 characters without control characters.";

/// At most 50 trimmed tags, each once.
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

/// The tags of a contact.
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

/// Gives a contact these tags besides its own.
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

/// Takes all tags off a contact.
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
