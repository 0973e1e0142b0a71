//! The addresses of a contact: added, changed and removed, never the last.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use entity::{audit_entry::AuditAction, contact, contact_address as rows};

use super::Contact;
use crate::{
    domain::{audit_log::refused_call::Target, contact::address as domain},
    graphql::{
        access::{self, ContextExt},
        audit_log::audited,
        enums::Channel,
        input::{parse_id, patch},
        loaders::OptOutOf,
        payload::payload,
    },
};

/// GraphQL's `ContactAddress`, described there.
pub struct ContactAddress(pub rows::Model);

/// Where a contact is reached by a channel. An address of a channel belongs to one contact of an
/// account.
#[Object]
impl ContactAddress {
    /// The address's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The channel that it is of.
    async fn channel(&self) -> Channel {
        self.0.channel.into()
    }

    /// The address in normal form: a phone number in E.164, an e-mail address, or a chat id.
    async fn address(&self) -> &str {
        &self.0.address
    }

    /// Your own word for it, such as work; null if it has none.
    async fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// Whether it is the one that the contact is reached by on this channel. One of each channel
    /// is.
    async fn is_primary(&self) -> bool {
        self.0.is_primary
    }

    /// Whether it is opted out: a message to it is refused.
    async fn is_opted_out(&self, ctx: &Context<'_>) -> Result<bool> {
        let key = OptOutOf { channel: self.0.channel, address: self.0.address.clone() };
        Ok(ctx.rows()?.load_one(key).await?.is_some())
    }
}

/// An address of a contact to be made.
#[derive(InputObject)]
pub struct ContactAddressInput {
    /// Left out: SMS for a phone number, EMAIL for an e-mail address.
    channel: Option<Channel>,
    /// A phone number in E.164 such as +12025550123, an e-mail address, or a Telegram chat id, by
    /// channel.
    address: String,
    /// 1 to 64 characters; none if left out.
    label: Option<String>,
}

impl From<ContactAddressInput> for domain::NewAddress {
    fn from(input: ContactAddressInput) -> Self {
        let ContactAddressInput { channel, address, label } = input;
        Self { channel: channel.map(|channel| channel.0), address, label }
    }
}

/// An address to be added.
#[derive(InputObject)]
pub struct AddContactAddressInput {
    /// Left out: SMS for a phone number, EMAIL for an e-mail address.
    channel: Option<Channel>,
    /// A phone number in E.164 such as +12025550123, an e-mail address, or a Telegram chat id, by
    /// channel.
    address: String,
    /// 1 to 64 characters; none if left out.
    label: Option<String>,
    /// Whether it becomes the primary one of its channel. The first of a channel does in any case.
    #[graphql(default)]
    is_primary: bool,
}

/// What to change of an address. What is left out is kept, its channel in any case.
#[derive(InputObject)]
pub struct UpdateContactAddressInput {
    /// Another address of the same channel.
    address: Option<String>,
    /// 1 to 64 characters. Null: none.
    label: MaybeUndefined<String>,
    /// True: it becomes the primary one of its channel instead of that which is.
    is_primary: Option<bool>,
}

payload! {
    /// The answer to addContactAddress.
    AddContactAddressPayload, domain::AddAddressRefusal, contact::Model as contact => {
        /// The contact as it is now; null if refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

payload! {
    /// The answer to updateContactAddress.
    UpdateContactAddressPayload, domain::UpdateAddressRefusal, contact::Model as contact => {
        /// The contact as it is now; null if refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

payload! {
    /// The answer to removeContactAddress.
    RemoveContactAddressPayload, domain::RemoveAddressRefusal, contact::Model as contact => {
        /// The contact as it is now; null if refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

#[derive(Default)]
pub struct ContactAddressMutation;

#[Object]
impl ContactAddressMutation {
    /// Adds an address to a contact, which has at most 20. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn add_contact_address(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact's id.")] contact_id: ID,
        #[graphql(desc = "The address to be added.")] input: AddContactAddressInput,
    ) -> Result<Option<AddContactAddressPayload>> {
        let contact_id = parse_id(&contact_id);
        let AddContactAddressInput { channel, address, label, is_primary } = input;
        let new = domain::NewAddress { channel: channel.map(|channel| channel.0), address, label };
        let done = audited(ctx, AuditAction::AddContactAddress, Target::Id(contact_id), async {
            domain::add(ctx.app()?, &ctx.live_account()?, contact_id, new, is_primary).await
        });
        AddContactAddressPayload::of(done.await)
    }

    /// Changes an address of a contact. Messages that went to it stay as they are. Needs a LIVE
    /// key.
    #[graphql(visible = "access::account")]
    async fn update_contact_address(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The address's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateContactAddressInput,
    ) -> Result<Option<UpdateContactAddressPayload>> {
        let id = parse_id(&id);
        let change = domain::AddressChange {
            address: input.address,
            label: patch(input.label),
            is_primary: input.is_primary,
        };
        let done = audited(ctx, AuditAction::UpdateContactAddress, Target::Id(id), async {
            domain::update(ctx.app()?, &ctx.live_account()?, id, change).await
        });
        UpdateContactAddressPayload::of(done.await)
    }

    /// Removes an address from a contact, but never its last. Where it was the primary one of its
    /// channel, the oldest that is left becomes that. Messages that went to it stay as they are.
    /// Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn remove_contact_address(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The address's id.")] id: ID,
    ) -> Result<Option<RemoveContactAddressPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::RemoveContactAddress, Target::Id(id), async {
            domain::remove(ctx.app()?, &ctx.live_account()?, id).await
        });
        RemoveContactAddressPayload::of(done.await)
    }
}
