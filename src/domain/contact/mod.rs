//! Contacts: the people to whom an account sends messages. Any LIVE key of an account can create and change the
//! account's contacts. Both environments use the same contacts, and no other account sees them. Every change to an
//! existing contact locks the contact first. Without the lock, simultaneous changes could exceed the limits on
//! addresses and tags.

use self::store::{lock, refuse_if_busy, search_text, write};
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
    details::{CheckedDetails, ContactChange, ContactField},
};
use super::{
    Failure,
    account::AccountIds,
    api_key::authentication::begin_as_account,
    audit_log::{Entry, Settings},
    caller::LiveAccountCaller,
    refused, refused_if_taken,
};
use crate::app::App;

pub mod address;
pub mod csv;
pub mod details;
pub mod erasure;
pub mod list;
pub mod merge;
mod store;
pub mod tag;

entity::api_enum! {
    /// Reasons why createContact is refused.
    pub enum CreateContactRefusal {
        /// The displayName is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// The locale is not a valid BCP 47 tag.
        LocaleInvalid,
        /// The timeZone is not a name in the IANA time zone database.
        TimeZoneInvalid,
        /// There are more than 50 tags, or a tag is blank, longer than 64 characters, or contains control characters.
        TagsInvalid,
        /// The metadata is larger than 16 KiB as JSON, or has more than 1,000 values or 32 levels of nesting.
        MetadataInvalid,
        /// There are no addresses, or more than 20.
        AddressCountInvalid,
        /// An address is not valid for its channel.
        AddressInvalid,
        /// A label is blank, longer than 64 characters, or contains control characters.
        LabelInvalid,
        /// Two of the addresses are the same, or another contact of the account already has one of them.
        AddressTaken,
    }

    /// Reasons why updateContact is refused.
    pub enum UpdateContactRefusal {
        /// The account has no such contact.
        NotFound,
        /// The displayName is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// The locale is not a valid BCP 47 tag.
        LocaleInvalid,
        /// The timeZone is not a name in the IANA time zone database.
        TimeZoneInvalid,
        /// There are more than 50 tags, or a tag is blank, longer than 64 characters, or contains control characters.
        TagsInvalid,
        /// The metadata is larger than 16 KiB as JSON, or has more than 1,000 values or 32 levels of nesting.
        MetadataInvalid,
        /// The contact is being deleted or merged.
        ContactInUse,
    }
}

#[derive(Clone, Debug, Default)]
pub struct NewContact {
    pub display_name: Option<String>,
    pub locale: Option<String>,
    pub time_zone: Option<String>,
    pub tags: Vec<String>,
    pub metadata: Option<Map<String, Value>>,
    pub addresses: Vec<NewAddress>,
}

/// A [`NewContact`] that has been checked.
pub(super) struct CheckedContact {
    details: CheckedDetails,
    addresses: Vec<CheckedAddress>,
}

impl From<ContactField> for CreateContactRefusal {
    fn from(field: ContactField) -> Self {
        match field {
            ContactField::DisplayName => Self::NameInvalid,
            ContactField::Locale => Self::LocaleInvalid,
            ContactField::TimeZone => Self::TimeZoneInvalid,
            ContactField::Tags => Self::TagsInvalid,
            ContactField::Metadata => Self::MetadataInvalid,
        }
    }
}

impl From<ContactField> for UpdateContactRefusal {
    fn from(field: ContactField) -> Self {
        match field {
            ContactField::DisplayName => Self::NameInvalid,
            ContactField::Locale => Self::LocaleInvalid,
            ContactField::TimeZone => Self::TimeZoneInvalid,
            ContactField::Tags => Self::TagsInvalid,
            ContactField::Metadata => Self::MetadataInvalid,
        }
    }
}

/// Creates a contact with its addresses. The first address of each channel becomes the primary address of the channel.
pub async fn create(
    app: &App,
    account: &LiveAccountCaller,
    new: NewContact,
) -> Result<contact::Model, Failure<CreateContactRefusal>> {
    let checked = check(new)?;
    let counts = Settings::from([("addresses", json!(checked.addresses.len()))]);
    let txn = begin_as_account(app, account).await?;
    let created = insert(app, &txn, account.into(), checked).await?;
    txn.commit(app, Entry::of(AuditAction::CreateContact, created.id).made(counts)).await?;
    Ok(created)
}

/// Checks and normalizes the input of a new contact.
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
        let message = "A contact must have 1 to 20 addresses.";
        return Err(refused(Refusal::AddressCountInvalid, field, message));
    }
    let mut addresses = Vec::with_capacity(new.addresses.len());
    for (at, address) in new.addresses.into_iter().enumerate() {
        let number = at + 1;
        let address = address.checked().map_err(|problem| match problem {
            AddressProblem::Address(rule) => {
                let message = rule.replacen("The recipient", &format!("Address {number}"), 1);
                refused(Refusal::AddressInvalid, field, message)
            }
            AddressProblem::Label(rule) => {
                refused(Refusal::LabelInvalid, field, format!("Address {number}: {rule}"))
            }
        })?;
        if addresses.iter().any(|other: &CheckedAddress| other.recipient == address.recipient) {
            let message = format!("Address {number} is a duplicate.");
            return Err(refused(Refusal::AddressTaken, field, message));
        }
        addresses.push(address);
    }
    Ok(CheckedContact { details, addresses })
}

/// Inserts a checked contact.
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
    // The addresses are inserted in a fixed order, so that two calls with the same addresses cannot deadlock.
    addresses.sort_by(|a, b| (a.channel, &a.address).cmp(&(b.channel, &b.address)));
    let addresses = addresses.into_iter().map(IntoActiveModel::into_active_model);
    let inserted =
        contact_address::Entity::insert_many(addresses).exec_without_returning(txn).await;
    inserted.map_err(|error| {
        let field = &["input", "addresses"];
        refused_if_taken(error, CreateContactRefusal::AddressTaken, field, TAKEN)
    })?;
    tag::add(txn, &contact, details.tags.unwrap_or_default()).await?;
    Ok(contact)
}

/// Changes the given fields and keeps the others.
pub async fn update(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
    change: ContactChange,
) -> Result<contact::Model, Failure<UpdateContactRefusal>> {
    let details = change.checked::<UpdateContactRefusal>()?;
    let txn = begin_as_account(app, account).await?;
    let found = lock(&txn, account.account_id(), id)
        .await?
        .ok_or_else(|| refused(UpdateContactRefusal::NotFound, &["id"], CONTACT_NOT_FOUND))?;
    refuse_if_busy(&found, UpdateContactRefusal::ContactInUse, &["id"])?;
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
