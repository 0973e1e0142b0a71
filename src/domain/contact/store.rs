//! Reads, locks and writes the row of a contact. The operations on contacts and on addresses share these functions.

use entity::{contact, contact_address};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use uuid::Uuid;

use crate::{
    app::App,
    domain::{Failure, Fault, channel::recipient, refused, search::folded},
};

pub(super) const BUSY: &str =
    "The contact is being deleted or merged. If that call was interrupted, repeat it.";

/// Refuses a change to a locked contact that is being erased or merged.
pub(super) fn refuse_if_busy<C>(
    contact: &contact::Model,
    code: C,
    field: &'static [&'static str],
) -> Result<(), Failure<C>> {
    if contact.busy_with.is_some() { Err(refused(code, field, BUSY)) } else { Ok(()) }
}

/// Marks a locked contact as being erased (its own id) or merged (the other contact's id); `None` removes the mark.
pub(super) async fn set_busy(
    txn: &DatabaseTransaction,
    contact: &contact::Model,
    busy_with: Option<Uuid>,
) -> Result<(), Fault> {
    contact::Entity::update_many()
        .set(contact::ActiveModel { busy_with: Set(busy_with), ..Default::default() })
        .filter(contact::Column::Id.eq(contact.id))
        .exec(txn)
        .await?;
    Ok(())
}

/// Locks the account's contact until the transaction ends, and returns it.
pub(super) async fn lock(
    txn: &DatabaseTransaction,
    account_id: Uuid,
    id: Option<Uuid>,
) -> Result<Option<contact::Model>, Fault> {
    let Some(id) = id else { return Ok(None) };
    let contact = contact::Entity::owned_by(account_id).filter(contact::Column::Id.eq(id));
    Ok(contact.lock_exclusive().one(txn).await?)
}

/// Writes those columns of a locked contact that are set, and updates the contact's search text and time of change.
pub(super) async fn write(
    app: &App,
    txn: &DatabaseTransaction,
    found: contact::Model,
    mut to: contact::ActiveModel,
) -> Result<contact::Model, Fault> {
    let display_name = match &to.display_name {
        Set(display_name) => display_name.clone(),
        _ => found.display_name.clone(),
    };
    let addresses = addresses_in(txn, &found).await?;
    to.search_text = Set(search_text(display_name.as_deref(), &addresses));
    to.updated_at = Set(app.clock.now());
    let rows = contact::Entity::update_many()
        .set(to)
        .filter(contact::Column::Id.eq(found.id))
        .exec_with_returning(txn)
        .await?;
    rows.into_iter().next().ok_or(Fault::Broken("a locked contact exists"))
}

pub(super) fn search_text(
    display_name: Option<&str>,
    addresses: &[contact_address::Model],
) -> String {
    let mut lines = vec![folded(display_name.unwrap_or_default())];
    for address in addresses {
        lines.push(folded(&address.address));
        // Both forms are indexed, so that a search in Unicode or in Punycode finds the address.
        lines.extend(recipient::in_unicode(&address.address).as_deref().map(folded));
    }
    lines.join("\n")
}

/// Returns the addresses of a contact, oldest first.
pub(in crate::domain) async fn addresses_in(
    txn: &DatabaseTransaction,
    contact: &contact::Model,
) -> Result<Vec<contact_address::Model>, Fault> {
    let select = contact_address::Entity::owned_by(contact.account_id)
        .filter(contact_address::Column::ContactId.eq(contact.id));
    Ok(select.order_by_asc(contact_address::Column::Id).all(txn).await?)
}
