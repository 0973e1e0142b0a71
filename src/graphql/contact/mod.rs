//! Contacts: what they are, made and changed. Any LIVE key of an account does so for its own.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};
use entity::contact as rows;

use super::{
    access::{self, ContextExt, RoleGuard},
    errors::{UserError, outcome},
    loaders::{AddressesOf, TagsOf},
    scalars::{DateTime, JsonObject},
    team::sub_account::{parse_id, patch},
};
use crate::domain::contact::{self as domain, details::ContactChange};
use address::{ContactAddress, ContactAddressInput};

pub mod address;
pub mod erasure;
pub mod list;
pub mod merge;

/// GraphQL's `Contact`, described there.
pub struct Contact(pub rows::Model);

/// A person whom the account writes to. It belongs to the account in both environments: LIVE and
/// TEST keys see the same contacts, and LIVE keys change them. Nobody else sees them, the main
/// account neither.
#[Object]
impl Contact {
    /// The contact's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The name that it is shown by; null if it has none.
    async fn display_name(&self) -> Option<&str> {
        self.0.display_name.as_deref()
    }

    /// Its language and region as a BCP 47 tag, such as de-AT; null if not known.
    async fn locale(&self) -> Option<&str> {
        self.0.locale.as_deref()
    }

    /// Its time zone by its name in the IANA database, such as Europe/Vienna; null if not known.
    async fn time_zone(&self) -> Option<&str> {
        self.0.time_zone.as_deref()
    }

    /// Your own words for it, in order, at most 50.
    async fn tags(&self, ctx: &Context<'_>) -> Result<Vec<String>> {
        let tags = ctx.row(TagsOf(self.0.id)).await?.unwrap_or_default();
        tags.iter().try_for_each(|tag| ctx.answer(Some(tag)).map(drop))?;
        Ok(tags)
    }

    /// Your own data about it.
    async fn metadata(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.metadata.as_deref(), ctx.reservation()?)?)
    }

    /// Its addresses, 1 to 20: by channel, the primary one first, then oldest first.
    async fn addresses(&self, ctx: &Context<'_>) -> Result<Vec<ContactAddress>> {
        let addresses = ctx.rows()?.load_one(AddressesOf(self.0.id)).await?.unwrap_or_default();
        Ok(addresses.into_iter().map(ContactAddress).collect())
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it, its addresses or its tags last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

/// A contact to be made.
#[derive(InputObject)]
pub struct CreateContactInput {
    /// 1 to 200 characters; none if left out.
    display_name: Option<String>,
    /// A BCP 47 tag, such as en, de-AT or zh-Hant-TW.
    locale: Option<String>,
    /// A name of the IANA time zone database, such as Europe/Vienna.
    time_zone: Option<String>,
    /// At most 50 tags, each of 1 to 64 characters. Upper and lower case differ.
    tags: Option<Vec<String>>,
    /// Your own data about it, at most 16 KiB as JSON and 1,000 values at all levels.
    metadata: Option<JsonObject>,
    /// 1 to 20 addresses. The first of each channel becomes its primary one.
    addresses: Vec<ContactAddressInput>,
}

/// What to change of a contact. What is left out is kept.
#[derive(InputObject)]
pub struct UpdateContactInput {
    /// 1 to 200 characters. Null: none.
    display_name: MaybeUndefined<String>,
    /// A BCP 47 tag, such as en, de-AT or zh-Hant-TW. Null: none.
    locale: MaybeUndefined<String>,
    /// A name of the IANA time zone database, such as Europe/Vienna. Null: none.
    time_zone: MaybeUndefined<String>,
    /// All tags that it is to have, at most 50, each of 1 to 64 characters. Null: none.
    tags: MaybeUndefined<Vec<String>>,
    /// Your own data about it, at most 16 KiB as JSON and 1,000 values at all levels, replaced whole.
    /// Null: none.
    metadata: MaybeUndefined<JsonObject>,
}

/// Why a contact was not made.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::CreateContactRefusal")]
pub enum CreateContactErrorCode {
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
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::UpdateContactRefusal")]
pub enum UpdateContactErrorCode {
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

/// The answer to createContact.
#[derive(SimpleObject)]
pub struct CreateContactPayload {
    /// The new contact; null if refused.
    contact: Option<Contact>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<CreateContactErrorCode>>,
}

/// The answer to updateContact.
#[derive(SimpleObject)]
pub struct UpdateContactPayload {
    /// The contact as it is now; null if refused.
    contact: Option<Contact>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<UpdateContactErrorCode>>,
}

#[derive(Default)]
pub struct ContactMutation;

#[Object]
impl ContactMutation {
    /// Makes a contact of the account of the key in use. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn create_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact to be made.")] input: CreateContactInput,
    ) -> Result<Option<CreateContactPayload>> {
        let account = ctx.account()?.live()?;
        let new = domain::NewContact {
            display_name: input.display_name,
            locale: input.locale,
            time_zone: input.time_zone,
            tags: input.tags.unwrap_or_default(),
            metadata: input.metadata.map(|metadata| metadata.0),
            addresses: input.addresses.into_iter().map(Into::into).collect(),
        };
        let done = domain::create(ctx.app()?, &account, new).await;
        Ok(Some(match outcome(done)? {
            Ok(contact) => CreateContactPayload { contact: Some(Contact(contact)), errors: vec![] },
            Err(errors) => CreateContactPayload { contact: None, errors },
        }))
    }

    /// Changes a contact of the account of the key in use. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn update_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateContactInput,
    ) -> Result<Option<UpdateContactPayload>> {
        let account = ctx.account()?.live()?;
        let change = ContactChange {
            display_name: patch(input.display_name),
            locale: patch(input.locale),
            time_zone: patch(input.time_zone),
            tags: patch(input.tags).map(Option::unwrap_or_default),
            metadata: patch(input.metadata).map(|value| value.map(|metadata| metadata.0)),
        };
        let done = domain::update(ctx.app()?, &account, parse_id(&id), change).await;
        Ok(Some(match outcome(done)? {
            Ok(contact) => UpdateContactPayload { contact: Some(Contact(contact)), errors: vec![] },
            Err(errors) => UpdateContactPayload { contact: None, errors },
        }))
    }
}
