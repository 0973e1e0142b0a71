//! Senders: as whom an account's messages go out, made and changed by any LIVE key of it. They are
//! the account's in both environments, and nobody else sees them (R3). An account that has any has
//! exactly one default sender: the first becomes it, making another it moves it, and when it is
//! deleted the oldest of the others follows.
//!
//! Every change holds the lock of the team: under it no message of the account is accepted, and the
//! account's other senders stay as they were read. A message that was given its sender just before
//! goes out by what it was given, unless that is a number which its account has no more
//! (`phone_number_use`).

use crate::domain::channel::send_refusal::SENDER_NOT_FOUND;
use entity::{
    audit_entry::AuditAction,
    inventory_number, message, phone_number,
    sender::{self, Column, Entity},
};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, QueryFilter, QueryOrder, Select,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Failure, Fault,
    api_key::authentication::begin_in_team_as_account,
    audit_log::{Entry, Settings},
    caller::LiveAccountCaller,
    phone_number::references as phone_number_use,
    refused,
};
use crate::app::App;
use details::{Detail, SenderChange};

pub mod details;
pub mod identity;
pub mod list;

/// Senders of an account at most.
pub const SENDERS_PER_ACCOUNT_MAX: usize = 100;

entity::api_enum! {
    /// Why a sender was not made.
    pub enum CreateSenderRefusal {
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
    pub enum UpdateSenderRefusal {
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
    pub enum DeleteSenderRefusal {
        /// The account has no such sender.
        NotFound,
        /// A message that is SCHEDULED or QUEUED goes by it. Cancel that, or try again when it was
        /// handed over.
        SenderInUse,
    }
}

impl From<Detail> for CreateSenderRefusal {
    fn from(detail: Detail) -> Self {
        match detail {
            Detail::Name => Self::NameInvalid,
            Detail::Email => Self::EmailInvalid,
            Detail::EmailName | Detail::EmailNameAlone => Self::EmailNameInvalid,
            Detail::Whatsapp | Detail::WhatsappInStock => Self::WhatsappInvalid,
            Detail::Telegram => Self::TelegramInvalid,
            Detail::NumberUnknown => Self::NumberNotFound,
            Detail::NumberInUse => Self::NumberInUse,
        }
    }
}

impl From<Detail> for UpdateSenderRefusal {
    fn from(detail: Detail) -> Self {
        match detail {
            Detail::Name => Self::NameInvalid,
            Detail::Email => Self::EmailInvalid,
            Detail::EmailName | Detail::EmailNameAlone => Self::EmailNameInvalid,
            Detail::Whatsapp | Detail::WhatsappInStock => Self::WhatsappInvalid,
            Detail::Telegram => Self::TelegramInvalid,
            Detail::NumberUnknown => Self::NumberNotFound,
            Detail::NumberInUse => Self::NumberInUse,
        }
    }
}

/// A sender to be made.
#[derive(Clone, Debug, Default)]
pub struct NewSender {
    pub name: String,
    pub phone_number_id: Option<Uuid>,
    pub email: Option<String>,
    pub email_name: Option<String>,
    pub whatsapp: Option<String>,
    pub telegram: Option<String>,
    pub is_default: bool,
}

impl From<NewSender> for SenderChange {
    fn from(new: NewSender) -> Self {
        Self {
            name: Some(new.name),
            phone_number_id: Some(new.phone_number_id),
            email: Some(new.email),
            email_name: Some(new.email_name),
            whatsapp: Some(new.whatsapp),
            telegram: Some(new.telegram),
            is_default: Some(new.is_default),
        }
    }
}

/// Makes a sender. It becomes the account's default one if it is to, or is the first.
pub async fn create(
    app: &App,
    account: &LiveAccountCaller,
    new: NewSender,
) -> Result<sender::Model, Failure<CreateSenderRefusal>> {
    let is_to_be_default = new.is_default;
    let (id, now) = (app.new_id(), app.clock.now());
    let details = SenderChange::from(new).checked::<CreateSenderRefusal>()?;
    let mut made = sender::Model {
        id,
        team_id: account.team_id(),
        account_id: account.account_id(),
        name: String::new(),
        is_default: false,
        phone_number_id: None,
        email: None,
        email_name: None,
        whatsapp: None,
        telegram: None,
        created_at: now,
        updated_at: now,
    };
    details.apply::<CreateSenderRefusal>(&mut made)?;

    let txn = begin_in_team_as_account(app, account).await?;
    let others = Entity::owned_by(account.account_id()).all(&txn).await?;
    if others.len() >= SENDERS_PER_ACCOUNT_MAX {
        let message = "The account has 100 senders already.";
        return Err(refused(CreateSenderRefusal::TooManySenders, &[], message));
    }
    check_number::<CreateSenderRefusal>(&txn, &made).await?;
    check_whatsapp::<CreateSenderRefusal>(&txn, &made).await?;
    made.is_default = is_to_be_default || others.is_empty();
    if made.is_default {
        demote(app, &txn, account.account_id()).await?;
    }
    Entity::insert(made.clone().into_active_model()).exec_without_returning(&txn).await?;
    let entry = Entry::of(AuditAction::CreateSender, made.id);
    txn.commit(app, entry.made(settings(&made))).await?;
    app.senders.forget(account.account_id());
    Ok(made)
}

/// Changes what is given and keeps the rest. Messages that were accepted keep the identity that
/// they were accepted with.
pub async fn update(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
    change: SenderChange,
) -> Result<sender::Model, Failure<UpdateSenderRefusal>> {
    use UpdateSenderRefusal as Refusal;
    let change = change.checked::<Refusal>()?;
    let txn = begin_in_team_as_account(app, account).await?;
    let mut sender = find(&txn, account, id)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["id"], SENDER_NOT_FOUND))?;
    let before = settings(&sender);
    change.apply::<Refusal>(&mut sender)?;
    if change.phone_number_id.is_some() {
        check_number::<Refusal>(&txn, &sender).await?;
    }
    if change.whatsapp.is_some() {
        check_whatsapp::<Refusal>(&txn, &sender).await?;
    }
    match change.is_default {
        Some(false) if sender.is_default => {
            let message = "Make another sender the default one instead.";
            return Err(refused(Refusal::DefaultNeeded, &["input", "isDefault"], message));
        }
        Some(true) if !sender.is_default => {
            demote(app, &txn, account.account_id()).await?;
            sender.is_default = true;
        }
        _ => {}
    }
    sender.updated_at = app.clock.now();
    Entity::update(sender.clone().into_active_model().reset_all()).exec(&txn).await?;
    let entry = Entry::of(AuditAction::UpdateSender, sender.id);
    txn.commit(app, entry.changed(before, settings(&sender))).await?;
    app.senders.forget(account.account_id());
    Ok(sender)
}

/// Deletes a sender by which no message waits, and gives its id. Messages that went out by it keep
/// what they came from.
pub async fn delete(
    app: &App,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<Uuid, Failure<DeleteSenderRefusal>> {
    use DeleteSenderRefusal as Refusal;
    let txn = begin_in_team_as_account(app, account).await?;
    let sender = find(&txn, account, id)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["id"], SENDER_NOT_FOUND))?;
    if waiting(&sender).one(&txn).await?.is_some() {
        let message = "A message of this sender waits to be handed over; cancel it, or try again \
                       when it was.";
        return Err(refused(Refusal::SenderInUse, &["id"], message));
    }
    Entity::delete_by_id(sender.id).exec(&txn).await?;
    if sender.is_default {
        let oldest = Entity::owned_by(sender.account_id).order_by_asc(Column::Id).one(&txn).await?;
        if let Some(oldest) = oldest {
            set_default(app, &txn, oldest.id, true).await?;
        }
    }
    txn.commit(app, Entry::of(AuditAction::DeleteSender, sender.id)).await?;
    app.senders.forget(account.account_id());
    Ok(sender.id)
}

/// What the audit log tells of a sender; its addresses are not in it.
fn settings(sender: &sender::Model) -> Settings {
    Settings::from([
        ("name", json!(sender.name)),
        ("phoneNumberId", json!(sender.phone_number_id)),
        ("isDefault", json!(sender.is_default)),
    ])
}

/// Refuses a phone number that the sender's account has not, or that another of its senders has.
async fn check_number<C: From<Detail>>(
    txn: &DatabaseTransaction,
    sender: &sender::Model,
) -> Result<(), Failure<C>> {
    let Some(number_id) = sender.phone_number_id else { return Ok(()) };
    let number = phone_number::Entity::owned_by(sender.account_id)
        .filter(phone_number::Column::Id.eq(number_id))
        .filter(phone_number::Entity::is_held())
        .one(txn)
        .await?
        .ok_or_else(|| Detail::NumberUnknown.refused())?;
    let user = phone_number_use::sender_of(txn, &number).await?;
    if user.is_some_and(|user| user.id != sender.id) {
        return Err(Detail::NumberInUse.refused());
    }
    Ok(())
}

/// Refuses as its own what is somebody's to buy, or was bought.
async fn check_whatsapp<C: From<Detail>>(
    txn: &DatabaseTransaction,
    sender: &sender::Model,
) -> Result<(), Failure<C>> {
    let Some(whatsapp) = &sender.whatsapp else { return Ok(()) };
    match inventory_number::Entity::find_by_id(whatsapp).one(txn).await? {
        Some(_) => Err(Detail::WhatsappInStock.refused()),
        None => Ok(()),
    }
}

/// The messages that wait to go out by a sender.
pub fn waiting(sender: &sender::Model) -> Select<message::Entity> {
    message::Entity::find()
        .filter(message::Column::AccountId.eq(sender.account_id))
        .filter(message::Column::SenderId.eq(sender.id))
        .filter(message::Entity::is_unclaimed())
}

async fn find(
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
    id: Option<Uuid>,
) -> Result<Option<sender::Model>, Fault> {
    let Some(id) = id else { return Ok(None) };
    Ok(Entity::owned_by(account.account_id()).filter(Column::Id.eq(id)).one(txn).await?)
}

/// Makes the account's default sender that no more.
async fn demote(app: &App, txn: &DatabaseTransaction, account_id: Uuid) -> Result<(), Fault> {
    let default = Entity::owned_by(account_id).filter(Column::IsDefault.eq(true)).one(txn).await?;
    match default {
        Some(default) => set_default(app, txn, default.id, false).await,
        None => Ok(()),
    }
}

async fn set_default(
    app: &App,
    txn: &DatabaseTransaction,
    id: Uuid,
    is_default: bool,
) -> Result<(), Fault> {
    let to = sender::ActiveModel {
        is_default: Set(is_default),
        updated_at: Set(app.clock.now()),
        ..Default::default()
    };
    Entity::update_many().set(to).filter(Column::Id.eq(id)).exec(txn).await?;
    Ok(())
}
