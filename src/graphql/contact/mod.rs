//! Contacts: creating and changing them.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use entity::{audit_entry::AuditAction, contact as rows};

use super::{
    access::{self, ContextExt, RoleGuard},
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

/// The GraphQL object `Contact`.
pub struct Contact(pub rows::Model);

/// A person to whom the account sends messages. LIVE and TEST keys of the account can read the same
/// contacts; only LIVE keys can change them. Other accounts, including the main account, cannot see
/// them.
#[Object]
impl Contact {
    /// Id of the contact.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Name of the contact; null if it has none.
    async fn display_name(&self) -> Option<&str> {
        self.0.display_name.as_deref()
    }

    /// Language and region of the contact as a BCP 47 tag, such as de-AT; null if unknown.
    async fn locale(&self) -> Option<&str> {
        self.0.locale.as_deref()
    }

    /// IANA time zone of the contact, such as Europe/Vienna; null if unknown.
    async fn time_zone(&self) -> Option<&str> {
        self.0.time_zone.as_deref()
    }

    /// Tags of the contact, ordered by Unicode code point (maximum 50).
    async fn tags(&self, ctx: &Context<'_>) -> Result<Vec<String>> {
        let tags = ctx.row(Some(TagsOf(self.0.id))).await?.unwrap_or_default();
        tags.iter().try_for_each(|tag| ctx.answer(Some(tag)).map(drop))?;
        Ok(tags)
    }

    /// Your own data about the contact; null if there is none.
    async fn metadata(&self, ctx: &Context<'_>) -> Result<Option<JsonObject>> {
        Ok(JsonObject::from_column(self.0.metadata.as_deref(), ctx.reservation()?)?)
    }

    /// Addresses of the contact (1 to 20), ordered by channel. On each channel, the primary address
    /// comes first and the others follow, oldest first.
    async fn addresses(&self, ctx: &Context<'_>) -> Result<Vec<ContactAddress>> {
        let addresses = ctx.load(Some(AddressesOf(self.0.id))).await?.unwrap_or_default();
        Ok(addresses.into_iter().map(ContactAddress).collect())
    }

    /// When the contact was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the contact, its addresses or its tags last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

/// Properties of the new contact.
#[derive(InputObject)]
pub struct CreateContactInput {
    /// Name of the contact (1 to 200 characters). If omitted, it has none.
    display_name: Option<String>,
    /// Language and region of the contact as a BCP 47 tag, such as en, de-AT or zh-Hant-TW. If
    /// omitted, it has none.
    locale: Option<String>,
    /// IANA time zone of the contact, such as Europe/Vienna. If omitted, it has none.
    time_zone: Option<String>,
    /// Tags of the contact (maximum 50, each with 1 to 64 characters). Tags are case-sensitive.
    tags: Option<Vec<String>>,
    /// Your own data about the contact (maximum 16 KiB as JSON, 1,000 values and 32 levels of
    /// nesting).
    metadata: Option<JsonObject>,
    /// Addresses of the contact (1 to 20). The first of each channel becomes its primary address.
    addresses: Vec<ContactAddressInput>,
}

/// Properties of the contact to change. Omitted properties are not changed.
#[derive(InputObject)]
pub struct UpdateContactInput {
    /// Name of the contact (1 to 200 characters). Null removes it.
    display_name: MaybeUndefined<String>,
    /// Language and region of the contact as a BCP 47 tag, such as en, de-AT or zh-Hant-TW. Null
    /// removes it.
    locale: MaybeUndefined<String>,
    /// IANA time zone of the contact, such as Europe/Vienna. Null removes it.
    time_zone: MaybeUndefined<String>,
    /// Tags that replace those of the contact (maximum 50, each with 1 to 64 characters). Null
    /// removes all tags.
    tags: MaybeUndefined<Vec<String>>,
    /// Your own data that replaces all metadata of the contact (maximum 16 KiB as JSON, 1,000
    /// values and 32 levels of nesting). Null removes it.
    metadata: MaybeUndefined<JsonObject>,
}

payload! {
    /// Result of createContact.
    CreateContactPayload, domain::CreateContactRefusal, rows::Model as contact => {
        /// The new contact; null if the mutation was refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

payload! {
    /// Result of updateContact.
    UpdateContactPayload, domain::UpdateContactRefusal, rows::Model as contact => {
        /// The contact after the change; null if the mutation was refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

#[derive(Default)]
pub struct ContactMutation;

#[Object]
impl ContactMutation {
    /// Creates a contact in your account. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn create_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Properties of the new contact.")] input: CreateContactInput,
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

    /// Changes a contact of your account. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn update_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the contact.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdateContactInput,
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
