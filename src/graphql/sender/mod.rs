//! Senders: the identities that an account's messages are sent from.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use entity::{audit_entry::AuditAction, phone_number as numbers, sender as rows};
use uuid::Uuid;

use super::{
    access::{self, ContextExt, RoleGuard},
    audit_log::audited,
    enums::Channel,
    input::{all, parse_id, patch},
    loaders::PhoneNumberId,
    payload::payload,
    phone_number::PhoneNumber,
    scalars::DateTime,
};
use crate::domain::{
    audit_log::refused_call::Target,
    sender::{self, self as domain, details::SenderChange},
};

pub mod list;

/// The GraphQL object `Sender`.
pub struct Sender(pub rows::Model);

/// Identity from which messages of the account are sent, on one or more channels. LIVE and TEST
/// keys of the account can use the same senders; only LIVE keys can change them. Other accounts,
/// including the main account, cannot see them.
#[Object]
impl Sender {
    /// Id of the sender.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Your own name for the sender. Recipients do not see it.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether this is the account's default sender. An account that has senders has exactly one
    /// default sender.
    async fn is_default(&self) -> bool {
        self.0.is_default
    }

    /// Channels on which the sender can currently send: EMAIL if email is set, TELEGRAM if telegram
    /// is set, WHATSAPP if whatsapp is set, and SMS and WHATSAPP if it has an ACTIVE phone number
    /// with that capability. Empty if it cannot send.
    async fn channels(&self, ctx: &Context<'_>) -> Result<Vec<Channel>> {
        let number = self.number(ctx).await?;
        let channels = sender::identity::channels(&self.0, number.as_ref());
        Ok(all(channels))
    }

    /// Phone number of the account from which SMS messages are sent, and WHATSAPP messages if
    /// whatsapp is null. Null if the sender has no phone number.
    async fn phone_number(&self, ctx: &Context<'_>) -> Result<Option<PhoneNumber>> {
        Ok(self.number(ctx).await?.map(PhoneNumber))
    }

    /// E-mail address from which EMAIL messages are sent; null if it has none.
    async fn email(&self) -> Option<&str> {
        self.0.email.as_deref()
    }

    /// Display name that is sent with the e-mail address; null if it has none.
    async fn email_name(&self) -> Option<&str> {
        self.0.email_name.as_deref()
    }

    /// Phone number in E.164 format from which WHATSAPP messages are sent; null if it has none.
    async fn whatsapp(&self) -> Option<&str> {
        self.0.whatsapp.as_deref()
    }

    /// Username of the bot from which TELEGRAM messages are sent, such as @acmebot; null if it has
    /// none.
    async fn telegram(&self) -> Option<&str> {
        self.0.telegram.as_deref()
    }

    /// When the sender was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the sender last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

impl Sender {
    async fn number(&self, ctx: &Context<'_>) -> Result<Option<numbers::Model>> {
        ctx.load(self.0.phone_number_id.map(PhoneNumberId)).await
    }
}

/// Properties of the new sender.
#[derive(InputObject)]
pub struct CreateSenderInput {
    /// Your own name for the sender (1 to 200 characters). Recipients do not see it.
    name: String,
    /// Id of a phone number of the account that no other sender uses. SMS messages are sent from
    /// it, and WHATSAPP messages if whatsapp is not set.
    phone_number_id: Option<ID>,
    /// E-mail address from which EMAIL messages are sent. You must prove to the carrier that you
    /// own the address.
    email: Option<String>,
    /// Display name that is sent with the e-mail address (1 to 200 characters).
    email_name: Option<String>,
    /// Phone number in E.164 format from which WHATSAPP messages are sent, as registered with
    /// WhatsApp.
    whatsapp: Option<String>,
    /// Username of the bot from which TELEGRAM messages are sent, such as @acmebot.
    telegram: Option<String>,
    /// Whether the sender becomes the account's default sender (default false). The first sender
    /// always becomes the default.
    #[graphql(default)]
    is_default: bool,
}

/// Properties of the sender to change. Omitted properties are not changed. Messages that have
/// already been accepted keep their identity.
#[derive(InputObject)]
pub struct UpdateSenderInput {
    /// Your own name for the sender (1 to 200 characters).
    name: Option<String>,
    /// Id of a phone number of the account that no other sender uses. Null removes it.
    phone_number_id: MaybeUndefined<ID>,
    /// E-mail address from which EMAIL messages are sent. Null removes it and the emailName.
    email: MaybeUndefined<String>,
    /// Display name that is sent with the e-mail address (1 to 200 characters). Null removes it.
    email_name: MaybeUndefined<String>,
    /// Phone number in E.164 format from which WHATSAPP messages are sent. Null removes it.
    whatsapp: MaybeUndefined<String>,
    /// Username of the bot from which TELEGRAM messages are sent, such as @acmebot. Null removes
    /// it.
    telegram: MaybeUndefined<String>,
    /// Whether the sender becomes the account's default sender, replacing the current one. False is
    /// refused for the default sender.
    is_default: Option<bool>,
}

payload! {
    /// Result of createSender.
    CreateSenderPayload, domain::CreateSenderRefusal, rows::Model as sender => {
        /// The new sender; null if the mutation was refused.
        sender: Option<Sender> = Some(Sender(sender)),
    }
}

payload! {
    /// Result of updateSender.
    UpdateSenderPayload, domain::UpdateSenderRefusal, rows::Model as sender => {
        /// The sender after the change; null if the mutation was refused.
        sender: Option<Sender> = Some(Sender(sender)),
    }
}

payload! {
    /// Result of deleteSender.
    DeleteSenderPayload, domain::DeleteSenderRefusal, Uuid as id => {
        /// Id of the sender that was deleted; null if the mutation was refused.
        sender_id: Option<ID> = Some(id.into()),
    }
}

/// Parses the id of a phone number. A malformed id is handled like an id that does not exist.
fn number_id(id: &ID) -> Uuid {
    parse_id(id).unwrap_or_default()
}

#[derive(Default)]
pub struct SenderMutation;

#[Object]
impl SenderMutation {
    /// Creates a sender in your account (maximum 100 senders per account). Requires a LIVE key of
    /// an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn create_sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Properties of the new sender.")] input: CreateSenderInput,
    ) -> Result<Option<CreateSenderPayload>> {
        let new = domain::NewSender {
            name: input.name,
            phone_number_id: input.phone_number_id.as_ref().map(number_id),
            email: input.email,
            email_name: input.email_name,
            whatsapp: input.whatsapp,
            telegram: input.telegram,
            is_default: input.is_default,
        };
        let done = audited(ctx, AuditAction::CreateSender, Target::Nothing, async {
            domain::create(ctx.app()?, &ctx.live_account()?, new).await
        });
        CreateSenderPayload::of(done.await)
    }

    /// Changes a sender of your account. Requires a LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn update_sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the sender.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdateSenderInput,
    ) -> Result<Option<UpdateSenderPayload>> {
        let id = parse_id(&id);
        let change = SenderChange {
            name: input.name,
            phone_number_id: patch(input.phone_number_id.map_value(|id| number_id(&id))),
            email: patch(input.email),
            email_name: patch(input.email_name),
            whatsapp: patch(input.whatsapp),
            telegram: patch(input.telegram),
            is_default: input.is_default,
        };
        let done = audited(ctx, AuditAction::UpdateSender, Target::Id(id), async {
            domain::update(ctx.app()?, &ctx.live_account()?, id, change).await
        });
        UpdateSenderPayload::of(done.await)
    }

    /// Deletes a sender of your account. A sender with SCHEDULED or QUEUED messages cannot be
    /// deleted. If the default sender is deleted, the oldest remaining sender becomes the default.
    /// Messages that have already been sent keep the identity from which they were sent. Requires a
    /// LIVE key of an account.
    #[graphql(guard = "RoleGuard::Account", visible = "access::account")]
    async fn delete_sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the sender.")] id: ID,
    ) -> Result<Option<DeleteSenderPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::DeleteSender, Target::Id(id), async {
            domain::delete(ctx.app()?, &ctx.live_account()?, id).await
        });
        DeleteSenderPayload::of(done.await)
    }
}
