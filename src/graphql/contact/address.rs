//! Addresses of contacts: adding, changing and removing them.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};
use entity::contact_address as rows;

use super::Contact;
use crate::{
    domain::contact::address as domain,
    graphql::{
        access::{self, ContextExt, RoleGuard},
        errors::{UserError, outcome},
        loaders::OptOutOf,
        message::Channel,
        team::sub_account::{parse_id, patch},
    },
};

/// The GraphQL object `ContactAddress`.
pub struct ContactAddress(pub rows::Model);

/// An address of a contact on one channel. In an account, each address of a channel belongs to one
/// contact only.
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

    /// Whether this is the address that messages to the contact on this channel are sent to. A
    /// contact has exactly one primary address on each channel for which it has addresses.
    async fn is_primary(&self) -> bool {
        self.0.is_primary
    }

    /// Whether the address is opted out, so that messages to it are refused.
    async fn is_opted_out(&self, ctx: &Context<'_>) -> Result<bool> {
        let key = OptOutOf { channel: self.0.channel, address: self.0.address.clone() };
        Ok(ctx.rows()?.load_one(key).await?.is_some())
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
        Self { channel: channel.map(Into::into), address, label }
    }
}

/// Address to add to a contact.
#[derive(InputObject)]
pub struct AddContactAddressInput {
    /// Channel of the address. If omitted, it is SMS for a phone number and EMAIL for an e-mail
    /// address.
    channel: Option<Channel>,
    /// The address, depending on the channel: a phone number in E.164 format such as +12025550123,
    /// an e-mail address, or a Telegram chat id.
    address: String,
    /// Your own label for the address (1 to 64 characters). If omitted, it has none.
    label: Option<String>,
    /// Whether the address becomes the primary address of its channel (default false). The first
    /// address of a channel always does.
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
    /// Whether the address becomes the primary address of its channel, in place of the current one.
    /// False is refused for the primary address.
    is_primary: Option<bool>,
}

/// Why an address was not added.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::AddAddressRefusal")]
pub enum AddContactAddressErrorCode {
    /// The account has no such contact.
    NotFound,
    /// The address is not one of its channel.
    AddressInvalid,
    /// The label is empty, longer than 64 characters, or has control characters.
    LabelInvalid,
    /// The contact has 20 addresses already.
    TooManyAddresses,
    /// A contact of the account has the address already.
    AddressTaken,
    /// The contact is being deleted or merged.
    ContactInUse,
}

/// Why an address was not changed.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::UpdateAddressRefusal")]
pub enum UpdateContactAddressErrorCode {
    /// The account has no such address.
    NotFound,
    /// The address is not one of its channel.
    AddressInvalid,
    /// The label is empty, longer than 64 characters, or has control characters.
    LabelInvalid,
    /// A contact of the account has the address already.
    AddressTaken,
    /// It is the primary one of its channel; make another that instead.
    PrimaryNeeded,
    /// The contact is being deleted or merged.
    ContactInUse,
}

/// Why an address was not removed.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::RemoveAddressRefusal")]
pub enum RemoveContactAddressErrorCode {
    /// The account has no such address.
    NotFound,
    /// It is the contact's last; delete the contact instead.
    LastAddress,
    /// The contact is being deleted or merged.
    ContactInUse,
}

/// The answer to addContactAddress.
#[derive(SimpleObject)]
pub struct AddContactAddressPayload {
    /// The contact as it is now; null if refused.
    contact: Option<Contact>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<AddContactAddressErrorCode>>,
}

/// The answer to updateContactAddress.
#[derive(SimpleObject)]
pub struct UpdateContactAddressPayload {
    /// The contact as it is now; null if refused.
    contact: Option<Contact>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<UpdateContactAddressErrorCode>>,
}

/// The answer to removeContactAddress.
#[derive(SimpleObject)]
pub struct RemoveContactAddressPayload {
    /// The contact as it is now; null if refused.
    contact: Option<Contact>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<RemoveContactAddressErrorCode>>,
}

#[derive(Default)]
pub struct ContactAddressMutation;

#[Object]
impl ContactAddressMutation {
    /// Adds an address to a contact (maximum 20 addresses per contact). Requires a LIVE key of an
    /// account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn add_contact_address(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the contact.")] contact_id: ID,
        #[graphql(desc = "Address to add.")] input: AddContactAddressInput,
    ) -> Result<Option<AddContactAddressPayload>> {
        let account = ctx.account()?.live()?;
        let AddContactAddressInput { channel, address, label, is_primary } = input;
        let new = domain::NewAddress { channel: channel.map(Into::into), address, label };
        let contact_id = parse_id(&contact_id);
        let done = domain::add(ctx.app()?, &account, contact_id, new, is_primary).await;
        Ok(Some(match outcome(done)? {
            Ok(contact) => {
                AddContactAddressPayload { contact: Some(Contact(contact)), errors: vec![] }
            }
            Err(errors) => AddContactAddressPayload { contact: None, errors },
        }))
    }

    /// Changes an address of a contact. Messages that were sent to it are not changed. Requires a
    /// LIVE key of an account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn update_contact_address(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the address.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdateContactAddressInput,
    ) -> Result<Option<UpdateContactAddressPayload>> {
        let account = ctx.account()?.live()?;
        let change = domain::AddressChange {
            address: input.address,
            label: patch(input.label),
            is_primary: input.is_primary,
        };
        let done = domain::update(ctx.app()?, &account, parse_id(&id), change).await;
        Ok(Some(match outcome(done)? {
            Ok(contact) => {
                UpdateContactAddressPayload { contact: Some(Contact(contact)), errors: vec![] }
            }
            Err(errors) => UpdateContactAddressPayload { contact: None, errors },
        }))
    }

    /// Removes an address of a contact. The last address cannot be removed. If the primary address
    /// of a channel is removed, the oldest remaining address of the channel becomes primary.
    /// Messages that were sent to the address are not changed. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn remove_contact_address(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the address.")] id: ID,
    ) -> Result<Option<RemoveContactAddressPayload>> {
        let account = ctx.account()?.live()?;
        let done = domain::remove(ctx.app()?, &account, parse_id(&id)).await;
        Ok(Some(match outcome(done)? {
            Ok(contact) => {
                RemoveContactAddressPayload { contact: Some(Contact(contact)), errors: vec![] }
            }
            Err(errors) => RemoveContactAddressPayload { contact: None, errors },
        }))
    }
}
