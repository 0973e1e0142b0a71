//! Contacts: what they are, made and changed. Any LIVE key of an account does so for its own.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use entity::{audit_entry::AuditAction, contact as rows};

use super::{
    access::{self, ContextExt},
    audit_log::audited,
    input::{all, parse_id, patch},
    loaders::{AddressesOf, TagsOf},
    payload::payload,
    scalars::{DateTime, JsonObject},
};
use crate::domain::{
    audit_log::refused_call::Target,
    contact::{self as domain, details::ContactChange},
};
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

payload! {
    /// The answer to createContact.
    CreateContactPayload, domain::CreateContactRefusal, rows::Model as contact => {
        /// The new contact; null if refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

payload! {
    /// The answer to updateContact.
    UpdateContactPayload, domain::UpdateContactRefusal, rows::Model as contact => {
        /// The contact as it is now; null if refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

#[derive(Default)]
pub struct ContactMutation;

#[Object]
impl ContactMutation {
    /// Makes a contact of the account of the key in use. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn create_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact to be made.")] input: CreateContactInput,
    ) -> Result<Option<CreateContactPayload>> {
        let new = domain::NewContact {
            display_name: input.display_name,
            locale: input.locale,
            time_zone: input.time_zone,
            tags: input.tags.unwrap_or_default(),
            metadata: input.metadata.map(|metadata| metadata.0),
            addresses: all(input.addresses),
        };
        let done = audited(ctx, AuditAction::CreateContact, Target::Nothing, async {
            domain::create(ctx.app()?, &ctx.live_account()?, new).await
        });
        CreateContactPayload::of(done.await)
    }

    /// Changes a contact of the account of the key in use. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn update_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateContactInput,
    ) -> Result<Option<UpdateContactPayload>> {
        let id = parse_id(&id);
        let change = ContactChange {
            display_name: patch(input.display_name),
            locale: patch(input.locale),
            time_zone: patch(input.time_zone),
            tags: patch(input.tags).map(Option::unwrap_or_default),
            metadata: patch(input.metadata).map(|value| value.map(|metadata| metadata.0)),
        };
        let done = audited(ctx, AuditAction::UpdateContact, Target::Id(id), async {
            domain::update(ctx.app()?, &ctx.live_account()?, id, change).await
        });
        UpdateContactPayload::of(done.await)
    }
}
