//! Senders: as whom an account's messages go out. Any LIVE key of an account keeps its own.

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};
use entity::{phone_number as numbers, sender as rows};
use uuid::Uuid;

use super::{
    access::{self, ContextExt, RoleGuard},
    errors::{UserError, outcome},
    loaders::PhoneNumberId,
    message::Channel,
    phone_number::PhoneNumber,
    scalars::DateTime,
    team::sub_account::{parse_id, patch},
};
use crate::domain::sender::{self as domain, self, details::SenderChange};

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
        Ok(channels.into_iter().map(Into::into).collect())
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

/// Why a sender was not made.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::CreateSenderRefusal")]
pub enum CreateSenderErrorCode {
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
    /// The email is not an e-mail address.
    EmailInvalid,
    /// The emailName is empty, longer than 200 characters, has control characters, or stands
    /// without an email.
    EmailNameInvalid,
    /// The whatsapp is not a phone number in E.164.
    WhatsappInvalid,
    /// The telegram is not a bot's username.
    TelegramInvalid,
    /// The account has no such phone number.
    NumberNotFound,
    /// Another sender has the phone number.
    NumberInUse,
    /// The account has 100 senders already.
    TooManySenders,
}

/// Why a sender was not changed.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::UpdateSenderRefusal")]
pub enum UpdateSenderErrorCode {
    /// The account has no such sender.
    NotFound,
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
    /// The email is not an e-mail address.
    EmailInvalid,
    /// The emailName is empty, longer than 200 characters, has control characters, or stands
    /// without an email.
    EmailNameInvalid,
    /// The whatsapp is not a phone number in E.164.
    WhatsappInvalid,
    /// The telegram is not a bot's username.
    TelegramInvalid,
    /// The account has no such phone number.
    NumberNotFound,
    /// Another sender has the phone number.
    NumberInUse,
    /// It is the account's default sender; make another that instead.
    DefaultNeeded,
}

/// Why a sender was not deleted.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::DeleteSenderRefusal")]
pub enum DeleteSenderErrorCode {
    /// The account has no such sender.
    NotFound,
    /// A message that is SCHEDULED or QUEUED goes by it. Cancel that, or try again when it was
    /// handed over.
    SenderInUse,
}

/// The answer to createSender.
#[derive(SimpleObject)]
pub struct CreateSenderPayload {
    /// The new sender; null if refused.
    sender: Option<Sender>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<CreateSenderErrorCode>>,
}

/// The answer to updateSender.
#[derive(SimpleObject)]
pub struct UpdateSenderPayload {
    /// The sender as it is now; null if refused.
    sender: Option<Sender>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<UpdateSenderErrorCode>>,
}

/// The answer to deleteSender.
#[derive(SimpleObject)]
pub struct DeleteSenderPayload {
    /// The id of the sender that was deleted; null if refused.
    sender_id: Option<ID>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<DeleteSenderErrorCode>>,
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
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn create_sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sender to be made.")] input: CreateSenderInput,
    ) -> Result<Option<CreateSenderPayload>> {
        let account = ctx.account()?.live()?;
        let new = domain::NewSender {
            name: input.name,
            phone_number_id: input.phone_number_id.as_ref().map(number_id),
            email: input.email,
            email_name: input.email_name,
            whatsapp: input.whatsapp,
            telegram: input.telegram,
            is_default: input.is_default,
        };
        let done = domain::create(ctx.app()?, &account, new).await;
        Ok(Some(match outcome(done)? {
            Ok(sender) => CreateSenderPayload { sender: Some(Sender(sender)), errors: vec![] },
            Err(errors) => CreateSenderPayload { sender: None, errors },
        }))
    }

    /// Changes a sender of the account of the key in use. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn update_sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sender's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateSenderInput,
    ) -> Result<Option<UpdateSenderPayload>> {
        let account = ctx.account()?.live()?;
        let change = SenderChange {
            name: input.name,
            phone_number_id: patch(input.phone_number_id.map_value(|id| number_id(&id))),
            email: patch(input.email),
            email_name: patch(input.email_name),
            whatsapp: patch(input.whatsapp),
            telegram: patch(input.telegram),
            is_default: input.is_default,
        };
        let done = domain::update(ctx.app()?, &account, parse_id(&id), change).await;
        Ok(Some(match outcome(done)? {
            Ok(sender) => UpdateSenderPayload { sender: Some(Sender(sender)), errors: vec![] },
            Err(errors) => UpdateSenderPayload { sender: None, errors },
        }))
    }

    /// Deletes a sender of the account of the key in use, unless a message waits to go out by it.
    /// If it was the default one, the oldest of the others becomes that. Messages keep what they
    /// came from. Needs a LIVE key.
    #[graphql(guard = "RoleGuard::LiveAccount", visible = "access::account")]
    async fn delete_sender(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sender's id.")] id: ID,
    ) -> Result<Option<DeleteSenderPayload>> {
        let account = ctx.account()?.live()?;
        let done = domain::delete(ctx.app()?, &account, parse_id(&id)).await;
        Ok(Some(match outcome(done)? {
            Ok(id) => DeleteSenderPayload { sender_id: Some(id.into()), errors: vec![] },
            Err(errors) => DeleteSenderPayload { sender_id: None, errors },
        }))
    }
}
