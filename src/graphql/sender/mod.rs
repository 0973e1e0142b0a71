//! Senders: as whom an account's messages go out. Any LIVE key of an account keeps its own.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, Result};
use entity::{audit_entry::AuditAction, phone_number as numbers, sender as rows};
use uuid::Uuid;

use super::{
    access::{self, ContextExt},
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

/// GraphQL's `Sender`, described there.
pub struct Sender(pub rows::Model);

/// As whom the account's messages go out: a name of yours, and an identity on each of some
/// channels. It belongs to the account in both environments: LIVE and TEST keys send by the same
/// senders, and LIVE keys change them. Nobody else sees them, the main account neither.
#[Object]
impl Sender {
    /// The sender's id.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Your own word for it. No recipient sees it.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether the account's messages go out by it that name no sender. Exactly one of an account's
    /// senders is the default one.
    async fn is_default(&self) -> bool {
        self.0.is_default
    }

    /// What it can send on now: EMAIL with an email, TELEGRAM with a telegram, WHATSAPP with a
    /// whatsapp, SMS and WHATSAPP with a phone number that is ACTIVE and capable of it. Empty:
    /// nothing.
    async fn channels(&self, ctx: &Context<'_>) -> Result<Vec<Channel>> {
        let number = self.number(ctx).await?;
        let channels = sender::identity::channels(&self.0, number.as_ref());
        Ok(all(channels))
    }

    /// The account's phone number that its SMS messages come from, and its WHATSAPP messages if it
    /// has no whatsapp of its own; null if it has none.
    async fn phone_number(&self, ctx: &Context<'_>) -> Result<Option<PhoneNumber>> {
        Ok(self.number(ctx).await?.map(PhoneNumber))
    }

    /// The e-mail address that its EMAIL messages come from; null if it has none.
    async fn email(&self) -> Option<&str> {
        self.0.email.as_deref()
    }

    /// The display name that goes with the email; null if it has none.
    async fn email_name(&self) -> Option<&str> {
        self.0.email_name.as_deref()
    }

    /// The phone number in E.164 that its WHATSAPP messages come from; null if it has none of its
    /// own.
    async fn whatsapp(&self) -> Option<&str> {
        self.0.whatsapp.as_deref()
    }

    /// The username of the bot that its TELEGRAM messages come from, with its @; null if it has
    /// none.
    async fn telegram(&self) -> Option<&str> {
        self.0.telegram.as_deref()
    }

    /// When it was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When it last changed.
    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.updated_at)
    }
}

impl Sender {
    async fn number(&self, ctx: &Context<'_>) -> Result<Option<numbers::Model>> {
        match self.0.phone_number_id {
            Some(id) => Ok(ctx.rows()?.load_one(PhoneNumberId(id)).await?),
            None => Ok(None),
        }
    }
}

/// A sender to be made.
#[derive(InputObject)]
pub struct CreateSenderInput {
    /// 1 to 200 characters. No recipient sees it.
    name: String,
    /// A phone number of the account, which no other sender has. Its SMS messages come from it, and
    /// its WHATSAPP messages if there is no whatsapp.
    phone_number_id: Option<ID>,
    /// The e-mail address that its EMAIL messages come from. Yours to prove to whoever carries
    /// them.
    email: Option<String>,
    /// The display name that goes with the email, 1 to 200 characters.
    email_name: Option<String>,
    /// The phone number in E.164 that its WHATSAPP messages come from, as registered with WhatsApp.
    whatsapp: Option<String>,
    /// The username of the bot that its TELEGRAM messages come from, such as @acmebot.
    telegram: Option<String>,
    /// Whether it becomes the account's default sender. The first does in any case.
    #[graphql(default)]
    is_default: bool,
}

/// What to change of a sender. What is left out is kept. A message that was accepted before goes
/// out under the identity that it was accepted with.
#[derive(InputObject)]
pub struct UpdateSenderInput {
    /// 1 to 200 characters.
    name: Option<String>,
    /// A phone number of the account, which no other sender has. Null: none.
    phone_number_id: MaybeUndefined<ID>,
    /// The e-mail address that its EMAIL messages come from. Null: none, and no emailName.
    email: MaybeUndefined<String>,
    /// The display name that goes with the email, 1 to 200 characters. Null: none.
    email_name: MaybeUndefined<String>,
    /// The phone number in E.164 that its WHATSAPP messages come from. Null: none of its own.
    whatsapp: MaybeUndefined<String>,
    /// The username of the bot that its TELEGRAM messages come from, such as @acmebot. Null: none.
    telegram: MaybeUndefined<String>,
    /// True: it becomes the account's default sender instead of that which is.
    is_default: Option<bool>,
}

payload! {
    /// The answer to createSender.
    CreateSenderPayload, domain::CreateSenderRefusal, rows::Model as sender => {
        /// The new sender; null if refused.
        sender: Option<Sender> = Some(Sender(sender)),
    }
}

payload! {
    /// The answer to updateSender.
    UpdateSenderPayload, domain::UpdateSenderRefusal, rows::Model as sender => {
        /// The sender as it is now; null if refused.
        sender: Option<Sender> = Some(Sender(sender)),
    }
}

payload! {
    /// The answer to deleteSender.
    DeleteSenderPayload, domain::DeleteSenderRefusal, Uuid as id => {
        /// The id of the sender that was deleted; null if refused.
        sender_id: Option<ID> = Some(id.into()),
    }
}

/// A malformed id is looked for like one that nobody has.
fn number_id(id: &ID) -> Uuid {
    parse_id(id).unwrap_or_default()
}

#[derive(Default)]
pub struct SenderMutation;

#[Object]
impl SenderMutation {
    /// Makes a sender of the account of the key in use, which has at most 100. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn create_sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sender to be made.")] input: CreateSenderInput,
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
        let done =
            audited(ctx, AuditAction::CreateSender, Target::Id(new.phone_number_id), async {
                domain::create(ctx.app()?, &ctx.live_account()?, new).await
            });
        CreateSenderPayload::of(done.await)
    }

    /// Changes a sender of the account of the key in use. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn update_sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sender's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateSenderInput,
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

    /// Deletes a sender of the account of the key in use, unless a message waits to go out by it.
    /// If it was the default one, the oldest of the others becomes that. Messages keep what they
    /// came from. Needs a LIVE key.
    #[graphql(visible = "access::account")]
    async fn delete_sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sender's id.")] id: ID,
    ) -> Result<Option<DeleteSenderPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::DeleteSender, Target::Id(id), async {
            domain::delete(ctx.app()?, &ctx.live_account()?, id).await
        });
        DeleteSenderPayload::of(done.await)
    }
}
