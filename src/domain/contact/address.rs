//! Adds, changes and removes addresses of a contact. A contact has 1 to 20 normalized addresses. On each channel for
//! which the contact has addresses, one of them is the primary address. Within an account, an address belongs to only
//! one contact. Every change locks the contact first.

use super::store::addresses_in;
use entity::{
    audit_entry::AuditAction,
    contact,
    contact_address::{self, Column, Entity},
    message::Channel,
};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
};
use serde_json::json;
use uuid::Uuid;

use super::store::{lock, refuse_if_busy, write};
use crate::{
    app::App,
    domain::{
        Failure, Fault,
        api_key::authentication::begin_as_account,
        audit_log::{Entry, Settings},
        caller::LiveAccountCaller,
        channel::recipient::{self, Recipient},
        refused, refused_if_taken,
        validate::{self, LABEL_RULE},
    },
};

/// Maximum number of addresses of a contact.
pub const ADDRESSES_PER_CONTACT_MAX: usize = 20;

pub(in crate::domain) const TAKEN: &str = "A contact of the account already has this address.";
const NOT_FOUND: &str = "There is no such address.";
const ADDRESS: &[&str] = &["input", "address"];
const LABEL: &[&str] = &["input", "label"];

entity::api_enum! {
    /// Reasons why addContactAddress is refused.
    pub enum AddAddressRefusal as "AddContactAddressErrorCode" {
        /// The account has no such contact.
        NotFound,
        /// The address is not valid for its channel.
        AddressInvalid,
        /// The label is blank, longer than 64 characters, or contains control characters.
        LabelInvalid,
        /// The contact already has 20 addresses.
        TooManyAddresses,
        /// A contact of the account already has this address.
        AddressTaken,
        /// The contact is being deleted or merged.
        ContactInUse,
    }

    /// Reasons why updateContactAddress is refused.
    pub enum UpdateAddressRefusal as "UpdateContactAddressErrorCode" {
        /// The account has no such address.
        NotFound,
        /// The address is not valid for its channel.
        AddressInvalid,
        /// The label is blank, longer than 64 characters, or contains control characters.
        LabelInvalid,
        /// A contact of the account already has this address.
        AddressTaken,
        /// The address is the primary address of its channel. Make another address primary instead.
        PrimaryNeeded,
        /// The contact is being deleted or merged.
        ContactInUse,
    }

    /// Reasons why removeContactAddress is refused.
    pub enum RemoveAddressRefusal as "RemoveContactAddressErrorCode" {
        /// The account has no such address.
        NotFound,
        /// The address is the only address of the contact. Delete the contact instead.
        LastAddress,
        /// The contact is being deleted or merged.
        ContactInUse,
    }
}

/// An address as input, in any form that `sendMessage` accepts.
#[derive(Clone, Debug, Default)]
pub struct NewAddress {
    pub channel: Option<Channel>,
    pub address: String,
    pub label: Option<String>,
}

/// The fields to change. `None` keeps the value, and `Some(None)` removes it. The channel cannot be changed.
#[derive(Default)]
pub struct AddressChange {
    pub address: Option<String>,
    pub label: Option<Option<String>>,
    pub is_primary: Option<bool>,
}

/// A [`NewAddress`] that has been checked.
pub(in crate::domain) struct CheckedAddress {
    pub recipient: Recipient,
    pub label: Option<String>,
}

/// The invalid part of an address, with the rule that the error message states.
pub(in crate::domain) enum AddressProblem {
    Address(&'static str),
    Label(&'static str),
}

impl NewAddress {
    pub(in crate::domain) fn checked(self) -> Result<CheckedAddress, AddressProblem> {
        let recipient =
            recipient::parse(&self.address, self.channel).map_err(AddressProblem::Address)?;
        Ok(CheckedAddress { recipient, label: checked_label(self.label)? })
    }
}

/// Adds an address to a contact. The first address of a channel always becomes its primary address.
pub async fn add(
    app: &App,
    account: &LiveAccountCaller,
    contact_id: Option<Uuid>,
    new: NewAddress,
    is_primary: bool,
) -> Result<contact::Model, Failure<AddAddressRefusal>> {
    use AddAddressRefusal as Refusal;
    let new = new.checked().map_err(|problem| match problem {
        AddressProblem::Address(rule) => refused(Refusal::AddressInvalid, ADDRESS, rule),
        AddressProblem::Label(rule) => refused(Refusal::LabelInvalid, LABEL, rule),
    })?;
    let txn = begin_as_account(app, account).await?;
    let contact = lock(&txn, account.account_id(), contact_id).await?.ok_or_else(|| {
        refused(
            Refusal::NotFound,
            &["contactId"],
            crate::domain::channel::send_refusal::CONTACT_NOT_FOUND,
        )
    })?;
    refuse_if_busy(&contact, Refusal::ContactInUse, &["contactId"])?;
    let addresses = addresses_in(&txn, &contact).await?;
    if addresses.len() >= ADDRESSES_PER_CONTACT_MAX {
        let message = "The contact already has 20 addresses (the maximum). Remove one first.";
        return Err(refused(Refusal::TooManyAddresses, &["contactId"], message));
    }
    let channel = new.recipient.channel;
    let is_first = addresses.iter().all(|address| address.channel != channel);
    if is_primary {
        clear_primary(&txn, &contact, channel).await?;
    }
    let row = contact_address::Model {
        id: app.new_id(),
        team_id: contact.team_id,
        account_id: contact.account_id,
        contact_id: contact.id,
        channel,
        address: new.recipient.address,
        label: new.label,
        is_primary: is_primary || is_first,
    };
    let id = row.id;
    Entity::insert(row.into_active_model())
        .exec_without_returning(&txn)
        .await
        .map_err(|error| refused_if_taken(error, Refusal::AddressTaken, ADDRESS, TAKEN))?;
    let changed = write(app, &txn, contact, contact::ActiveModel::default()).await?;
    txn.commit(app, entry(AuditAction::AddContactAddress, id, &changed)).await?;
    Ok(changed)
}

/// Changes the given fields of an address and keeps the others.
pub async fn update(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
    change: AddressChange,
) -> Result<contact::Model, Failure<UpdateAddressRefusal>> {
    use UpdateAddressRefusal as Refusal;
    let label =
        match change.label {
            None => NotSet,
            Some(label) => Set(checked_label(label)
                .map_err(|_| refused(Refusal::LabelInvalid, LABEL, LABEL_RULE))?),
        };
    let txn = begin_as_account(app, account).await?;
    let (contact, found, _) = lock_with_addresses(&txn, account.account_id(), id)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["id"], NOT_FOUND))?;
    refuse_if_busy(&contact, Refusal::ContactInUse, &["id"])?;
    let address = match change.address {
        None => NotSet,
        Some(address) => Set(recipient::parse(&address, Some(found.channel))
            .map_err(|rule| refused(Refusal::AddressInvalid, ADDRESS, rule))?
            .address),
    };
    let is_primary = match change.is_primary {
        Some(false) if found.is_primary => {
            let message = "A channel needs a primary address. Make another address of the channel \
                           the primary one instead.";
            return Err(refused(Refusal::PrimaryNeeded, &["input", "isPrimary"], message));
        }
        Some(true) if !found.is_primary => {
            clear_primary(&txn, &contact, found.channel).await?;
            Set(true)
        }
        _ => NotSet,
    };
    let to = contact_address::ActiveModel { address, label, is_primary, ..Default::default() };
    set(&txn, &found, to)
        .await
        .map_err(|error| refused_if_taken(error, Refusal::AddressTaken, ADDRESS, TAKEN))?;
    let changed = write(app, &txn, contact, contact::ActiveModel::default()).await?;
    txn.commit(app, entry(AuditAction::UpdateContactAddress, found.id, &changed)).await?;
    Ok(changed)
}

/// Removes an address. If the address was the primary address of its channel, the channel's oldest remaining address
/// becomes primary.
pub async fn remove(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<contact::Model, Failure<RemoveAddressRefusal>> {
    use RemoveAddressRefusal as Refusal;
    let txn = begin_as_account(app, account).await?;
    let (contact, found, others) = lock_with_addresses(&txn, account.account_id(), id)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["id"], NOT_FOUND))?;
    refuse_if_busy(&contact, Refusal::ContactInUse, &["id"])?;
    if others.is_empty() {
        let message =
            "The last address of a contact cannot be removed. Delete the contact instead.";
        return Err(refused(Refusal::LastAddress, &["id"], message));
    }
    Entity::delete_by_id(found.id).exec(&txn).await?;
    let next = others.iter().find(|other| other.channel == found.channel);
    if let (true, Some(next)) = (found.is_primary, next) {
        let primary = contact_address::ActiveModel { is_primary: Set(true), ..Default::default() };
        set(&txn, next, primary).await?;
    }
    let changed = write(app, &txn, contact, contact::ActiveModel::default()).await?;
    txn.commit(app, entry(AuditAction::RemoveContactAddress, found.id, &changed)).await?;
    Ok(changed)
}

fn entry(action: AuditAction, id: Uuid, contact: &contact::Model) -> Entry {
    Entry::of(action, id).made(Settings::from([("contactId", json!(contact.id))]))
}

/// Locks the contact of an address, and returns the contact, the address, and the contact's other addresses. Tries
/// again if a merge moved the address to another contact while this call was waiting for the lock.
async fn lock_with_addresses(
    txn: &DatabaseTransaction,
    account_id: Uuid,
    id: Option<Uuid>,
) -> Result<Option<(contact::Model, contact_address::Model, Vec<contact_address::Model>)>, Fault> {
    let Some(id) = id else { return Ok(None) };
    loop {
        let select = Entity::owned_by(account_id).filter(Column::Id.eq(id));
        let Some(address) = select.one(txn).await? else { return Ok(None) };
        let Some(contact) = lock(txn, account_id, Some(address.contact_id)).await? else {
            continue;
        };
        let mut others = addresses_in(txn, &contact).await?;
        if let Some(at) = others.iter().position(|address| address.id == id) {
            let address = others.remove(at);
            return Ok(Some((contact, address, others)));
        }
    }
}

/// Makes the current primary address of the channel an ordinary address, before another address becomes primary.
async fn clear_primary(
    txn: &DatabaseTransaction,
    contact: &contact::Model,
    channel: Channel,
) -> Result<(), Fault> {
    Entity::update_many()
        .set(contact_address::ActiveModel { is_primary: Set(false), ..Default::default() })
        .filter(Column::AccountId.eq(contact.account_id))
        .filter(Column::ContactId.eq(contact.id))
        .filter(Column::Channel.eq(channel))
        .exec(txn)
        .await?;
    Ok(())
}

async fn set(
    txn: &DatabaseTransaction,
    address: &contact_address::Model,
    to: contact_address::ActiveModel,
) -> Result<(), sea_orm::DbErr> {
    // An UPDATE without columns would be invalid SQL.
    if sea_orm::ActiveModelTrait::is_changed(&to) {
        Entity::update_many().set(to).filter(Column::Id.eq(address.id)).exec(txn).await?;
    }
    Ok(())
}

fn checked_label(label: Option<String>) -> Result<Option<String>, AddressProblem> {
    match label {
        None => Ok(None),
        Some(label) => validate::label(&label).map(Some).ok_or(AddressProblem::Label(LABEL_RULE)),
    }
}
