//! Contacts: the people that an account writes to, made and changed by any LIVE key of it. They are the
//! account's in both environments, and nobody else sees them (R3). Every change but a creation locks the
//! contact first, so that its addresses and tags keep their bounds.

use self::store::{locked, search_text, unless_busy, write};
use crate::domain::channel::send_refusal::CONTACT_NOT_FOUND;
use std::collections::BTreeSet;

use entity::{audit_entry::AuditAction, contact, contact_address};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    DatabaseTransaction, EntityTrait, IntoActiveModel,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::{
    address::{ADDRESSES_PER_CONTACT_MAX, AddressProblem, CheckedAddress, NewAddress, TAKEN},
    details::{CheckedDetails, ContactChange, Detail},
};
use super::{
    Failure,
    account::AccountIds,
    api_key::authentication::begin_as_account,
    audit_log::{Entry, Settings},
    caller::LiveAccountCaller,
    refused,
};
use crate::{app::App, db::is_unique_violation};

pub mod address;
pub mod csv;
pub mod details;
pub mod erasure;
pub mod list;
pub mod merge;
mod store;
pub mod tag;

entity::api_enum! {
    /// Why a contact was not made.
    pub enum CreateContactRefusal {
        /// The displayName is empty, longer than 200 characters, or has control characters.
        NameInvalid,
        /// The locale is no BCP 47 tag.
        LocaleInvalid,
        /// The timeZone is no name of the IANA time zone database.
        TimeZoneInvalid,
        /// There are more than 50 tags, or one is empty, longer than 64 characters, or has control
        /// characters.
        TagsInvalid,
        /// The metadata is larger than 16 KiB as JSON or 1,000 values.
        MetadataInvalid,
        /// There is no address, or more than 20.
        AddressCountInvalid,
        /// An address is not one of its channel.
        AddressInvalid,
        /// A label is empty, longer than 64 characters, or has control characters.
        LabelInvalid,
        /// An address is given twice, or a contact of the account has it already.
        AddressTaken,
    }

    /// Why a contact was not changed.
    pub enum UpdateContactRefusal {
        /// The account has no such contact.
        NotFound,
        /// The displayName is empty, longer than 200 characters, or has control characters.
        NameInvalid,
        /// The locale is no BCP 47 tag.
        LocaleInvalid,
        /// The timeZone is no name of the IANA time zone database.
        TimeZoneInvalid,
        /// There are more than 50 tags, or one is empty, longer than 64 characters, or has control
        /// characters.
        TagsInvalid,
        /// The metadata is larger than 16 KiB as JSON or 1,000 values.
        MetadataInvalid,
        /// The contact is being deleted or merged.
        ContactInUse,
    }
}

/// A contact to be made.
#[derive(Clone, Debug, Default)]
pub struct NewContact {
    pub display_name: Option<String>,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Option<Map<String, Value>>,
    pub addresses: Vec<NewAddress>,
}

/// A new contact whose input has been checked.
pub(super) struct CheckedContact {
    details: CheckedDetails,
    addresses: Vec<CheckedAddress>,
}

impl From<Detail> for CreateContactRefusal {
    fn from(detail: Detail) -> Self {
        match detail {
            Detail::DisplayName => Self::NameInvalid,
            Detail::Locale => Self::LocaleInvalid,
            Detail::TimeZone => Self::TimeZoneInvalid,
            Detail::Tags => Self::TagsInvalid,
            Detail::Metadata => Self::MetadataInvalid,
        }
    }
}

impl From<Detail> for UpdateContactRefusal {
    fn from(detail: Detail) -> Self {
        match detail {
            Detail::DisplayName => Self::NameInvalid,
            Detail::Locale => Self::LocaleInvalid,
            Detail::TimeZone => Self::TimeZoneInvalid,
            Detail::Tags => Self::TagsInvalid,
            Detail::Metadata => Self::MetadataInvalid,
        }
    }
}

/// Makes a contact with its addresses; the first of each channel is its primary one.
pub async fn create(
    app: &App,
    account: &LiveAccountCaller,
    new: NewContact,
) -> Result<contact::Model, Failure<CreateContactRefusal>> {
    let checked = check(new)?;
    let counts = Settings::from([("addresses", json!(checked.addresses.len()))]);
    let txn = begin_as_account(app, account).await?;
    let made = insert(app, &txn, account.into(), checked).await?;
    txn.commit(app, Entry::of(AuditAction::CreateContact, made.id).made(counts)).await?;
    Ok(made)
}

/// Checks and normalises the input of a new contact.
pub(super) fn check(new: NewContact) -> Result<CheckedContact, Failure<CreateContactRefusal>> {
    use CreateContactRefusal as Refusal;
    let change = ContactChange {
        display_name: Some(new.display_name),
        locale: Some(new.locale),
        time_zone: Some(new.time_zone),
        tags: Some(new.tags),
        metadata: Some(new.metadata),
    };
    let details = change.checked::<Refusal>()?;

    let field = &["input", "addresses"];
    if !(1..=ADDRESSES_PER_CONTACT_MAX).contains(&new.addresses.len()) {
        let message = "A contact has 1 to 20 addresses.";
        return Err(refused(Refusal::AddressCountInvalid, field, message));
    }
    let mut addresses = Vec::with_capacity(new.addresses.len());
    for (at, address) in new.addresses.into_iter().enumerate() {
        let number = at + 1;
        let address = address.checked().map_err(|problem| match problem {
            AddressProblem::Address(rule) => {
                refused(Refusal::AddressInvalid, field, format!("Address {number}: {rule}"))
            }
            AddressProblem::Label(rule) => {
                refused(Refusal::LabelInvalid, field, format!("Address {number}: {rule}"))
            }
        })?;
        if addresses.iter().any(|other: &CheckedAddress| other.recipient == address.recipient) {
            let message = format!("Duplicate address {number}.");
            return Err(refused(Refusal::AddressTaken, field, message));
        }
        addresses.push(address);
    }
    Ok(CheckedContact { details, addresses })
}

/// Writes a checked contact.
pub(super) async fn insert(
    app: &App,
    txn: &DatabaseTransaction,
    owner: AccountIds,
    new: CheckedContact,
) -> Result<contact::Model, Failure<CreateContactRefusal>> {
    let (id, now) = (app.new_id(), app.clock.now());
    let mut channels = BTreeSet::new();
    let addresses = new.addresses.into_iter().map(|address| contact_address::Model {
        id: app.new_id(),
        team_id: owner.team_id,
        account_id: owner.account_id,
        contact_id: id,
        is_primary: channels.insert(address.recipient.channel),
        channel: address.recipient.channel,
        address: address.recipient.address,
        label: address.label,
    });
    let mut addresses: Vec<_> = addresses.collect();
    let details = new.details;
    let display_name = details.display_name.flatten();
    let contact = contact::Model {
        id,
        team_id: owner.team_id,
        account_id: owner.account_id,
        search_text: search_text(display_name.as_deref(), &addresses),
        display_name,
        locale: details.locale.flatten(),
        time_zone: details.time_zone.flatten(),
        metadata: details.metadata.flatten(),
        busy_with: None,
        created_at: now,
        updated_at: now,
    };
    contact::Entity::insert(contact.clone().into_active_model())
        .exec_without_returning(txn)
        .await?;
    // In one order, so that no two that want the same addresses wait for each other.
    addresses.sort_by(|a, b| (a.channel, &a.address).cmp(&(b.channel, &b.address)));
    let addresses = addresses.into_iter().map(IntoActiveModel::into_active_model);
    contact_address::Entity::insert_many(addresses).exec_without_returning(txn).await.map_err(
        |error| {
            if is_unique_violation(&error) {
                let field = &["input", "addresses"];
                refused(CreateContactRefusal::AddressTaken, field, TAKEN)
            } else {
                error.into()
            }
        },
    )?;
    tag::add(txn, &contact, details.tags.unwrap_or_default()).await?;
    Ok(contact)
}

/// Changes what is given and keeps the rest.
pub async fn update(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
    change: ContactChange,
) -> Result<contact::Model, Failure<UpdateContactRefusal>> {
    let details = change.checked::<UpdateContactRefusal>()?;
    let txn = begin_as_account(app, account).await?;
    let found = locked(&txn, account.account_id(), id)
        .await?
        .ok_or_else(|| refused(UpdateContactRefusal::NotFound, &["id"], CONTACT_NOT_FOUND))?;
    unless_busy(&found, UpdateContactRefusal::ContactInUse, &["id"])?;
    if let Some(tags) = details.tags {
        tag::delete(&txn, &found).await?;
        tag::add(&txn, &found, tags).await?;
    }
    let to = contact::ActiveModel {
        display_name: details.display_name.map_or(NotSet, Set),
        locale: details.locale.map_or(NotSet, Set),
        time_zone: details.time_zone.map_or(NotSet, Set),
        metadata: details.metadata.map_or(NotSet, Set),
        ..Default::default()
    };
    let changed = write(app, &txn, found, to).await?;
    txn.commit(app, Entry::of(AuditAction::UpdateContact, changed.id)).await?;
    Ok(changed)
}
