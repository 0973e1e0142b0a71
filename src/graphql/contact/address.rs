//! Addresses of contacts: adding, changing and removing them.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use entity::{audit_entry::AuditAction, contact, contact_address as rows};

use super::Contact;
use crate::{
    domain::{audit_log::refused_call::Target, contact::address as domain},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        audit_log::audited,
        enums::Channel,
        input::{parse_id, patch},
        loaders::OptOutOf,
        payload::payload,
    },
};

/// The GraphQL object `ContactAddress`.
pub struct ContactAddress(pub rows::Model);

/// An address of a contact on one channel. Within an account, each address on a channel belongs to
/// only one contact.
#[Object]
impl ContactAddress {
    /// Id of the address.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Channel of the address.
    async fn channel(&self) -> Channel {
        self.0.channel.into()
    }

    /// Address in normalized form: a phone number in E.164 format, an e-mail address, or a Telegram
    /// chat id.
    async fn address(&self) -> &str {
        &self.0.address
    }

    /// Your own label for the address, such as work; null if it has none.
    async fn label(&self) -> Option<&str> {
        self.0.label.as_deref()
    }

    /// Whether messages to the contact on this channel are sent to this address. A contact has
    /// exactly one primary address on each channel for which it has addresses.
    async fn is_primary(&self) -> bool {
        self.0.is_primary
    }

    /// Whether the address is opted out, so that messages to it are refused.
    async fn is_opted_out(&self, ctx: &Context<'_>) -> Result<bool> {
        let key = OptOutOf { channel: self.0.channel, address: self.0.address.clone() };
        Ok(ctx.load(Some(key)).await?.is_some())
    }
}

/// Address of a new contact.
#[derive(InputObject)]
pub struct ContactAddressInput {
    /// Channel of the address. If omitted, it is SMS for a phone number and EMAIL for an e-mail
    /// address.
    channel: Option<Channel>,
    /// The address, depending on the channel: a phone number in E.164 format such as +12025550123,
    /// an e-mail address, or a Telegram chat id.
    address: String,
    /// Your own label for the address (1 to 64 characters). If omitted, it has none.
    label: Option<String>,
}

impl From<ContactAddressInput> for domain::NewAddress {
    fn from(input: ContactAddressInput) -> Self {
        let ContactAddressInput { channel, address, label } = input;
        Self { channel: channel.map(|channel| channel.0), address, label }
    }
}

/// Address to add to a contact.
#[derive(InputObject)]
pub struct AddContactAddressInput {
    #[graphql(flatten)]
    address: ContactAddressInput,
    /// Whether the address becomes the primary address of its channel (default false). The first
    /// address of a channel always becomes primary.
    #[graphql(default)]
    is_primary: bool,
}

/// Properties of the address to change. Omitted properties are not changed. The channel cannot be
/// changed.
#[derive(InputObject)]
pub struct UpdateContactAddressInput {
    /// New address on the same channel.
    address: Option<String>,
    /// New label (1 to 64 characters). Null removes the label.
    label: MaybeUndefined<String>,
    /// Whether the address becomes the primary address of its channel, replacing the current one.
    /// False is refused for the primary address.
    is_primary: Option<bool>,
}

payload! {
    /// Result of addContactAddress.
    AddContactAddressPayload, domain::AddAddressRefusal, contact::Model as contact => {
        /// The contact after the change; null if the mutation was refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

payload! {
    /// Result of updateContactAddress.
    UpdateContactAddressPayload, domain::UpdateAddressRefusal, contact::Model as contact => {
        /// The contact after the change; null if the mutation was refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

payload! {
    /// Result of removeContactAddress.
    RemoveContactAddressPayload, domain::RemoveAddressRefusal, contact::Model as contact => {
        /// The contact after the change; null if the mutation was refused.
        contact: Option<Contact> = Some(Contact(contact)),
    }
}

#[derive(Default)]
pub struct ContactAddressMutation;

#[Object]
impl ContactAddressMutation {
    /// Adds an address to a contact (maximum 20 addresses per contact). Requires a LIVE key of an
    /// account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn add_contact_address(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the contact.")] contact_id: ID,
        #[graphql(desc = "Address to add.")] input: AddContactAddressInput,
    ) -> Result<Option<AddContactAddressPayload>> {
        let contact_id = parse_id(&contact_id);
        let AddContactAddressInput { address, is_primary } = input;
        let done = audited(ctx, AuditAction::AddContactAddress, Target::Id(contact_id), async {
            domain::add(ctx.app()?, &ctx.live_account()?, contact_id, address.into(), is_primary)
                .await
        });
        AddContactAddressPayload::of(done.await)
    }

    /// Changes an address of a contact. Messages that have already been sent to it are not changed.
    /// Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn update_contact_address(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the address.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdateContactAddressInput,
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

    /// Removes an address of a contact. The last address cannot be removed. If the primary address
    /// of a channel is removed, the oldest remaining address of the channel becomes primary.
    /// Messages that have already been sent to the address are not changed. Requires a LIVE key of
    /// an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn remove_contact_address(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the address.")] id: ID,
    ) -> Result<Option<RemoveContactAddressPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::RemoveContactAddress, Target::Id(id), async {
            domain::remove(ctx.app()?, &ctx.live_account()?, id).await
        });
        RemoveContactAddressPayload::of(done.await)
    }
}
