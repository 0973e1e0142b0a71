//! Senders: the identities from which an account's messages are sent. Any LIVE key of an account can create and change
//! the account's senders. Both environments use the same senders, and no other account sees them. An account with
//! senders has exactly one default sender: the first sender, until another sender is made the default. If the default
//! sender is deleted, the oldest remaining sender becomes the default.
//!
//! Every change holds the team's lock, so no message of the account is accepted meanwhile and the account's other
//! senders do not change. A message that was accepted earlier keeps its sender's identity, unless the identity is a
//! phone number that the account no longer has (see `delivery::lost_number`).

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
    phone_number::references,
    refused,
};
use crate::app::App;
use details::{SenderChange, SenderProblem};

pub mod details;
pub mod identity;
pub mod list;

/// Maximum number of senders of an account.
pub const SENDERS_PER_ACCOUNT_MAX: usize = 100;

entity::api_enum! {
    /// Reasons why createSender is refused.
    pub enum CreateSenderRefusal {
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// The email is not a valid e-mail address.
        EmailInvalid,
        /// The emailName is blank, longer than 200 characters, contains control characters, or is set without an
        /// email.
        EmailNameInvalid,
        /// The WhatsApp number is not in E.164 format, or is a number that this server sells or has sold. Use
        /// phoneNumberId for such a number.
        WhatsappInvalid,
        /// The Telegram bot username is not valid.
        TelegramInvalid,
        /// The account has no such phone number.
        NumberNotFound,
        /// Another sender uses the phone number.
        NumberInUse,
        /// The account already has 100 senders.
        TooManySenders,
    }

    /// Reasons why updateSender is refused.
    pub enum UpdateSenderRefusal {
        /// The account has no such sender.
        NotFound,
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// The email is not a valid e-mail address.
        EmailInvalid,
        /// The emailName is blank, longer than 200 characters, contains control characters, or is set without an
        /// email.
        EmailNameInvalid,
        /// The WhatsApp number is not in E.164 format, or is a number that this server sells or has sold. Use
        /// phoneNumberId for such a number.
        WhatsappInvalid,
        /// The Telegram bot username is not valid.
        TelegramInvalid,
        /// The account has no such phone number.
        NumberNotFound,
        /// Another sender uses the phone number.
        NumberInUse,
        /// The sender is the account's default sender. Make another sender the default instead.
        DefaultNeeded,
    }

    /// Reasons why deleteSender is refused.
    pub enum DeleteSenderRefusal {
        /// The account has no such sender.
        NotFound,
        /// The sender has a message that is SCHEDULED or QUEUED. Cancel the message, or try again after it has been
        /// sent.
        SenderInUse,
    }
}

impl From<SenderProblem> for CreateSenderRefusal {
    fn from(problem: SenderProblem) -> Self {
        match problem {
            SenderProblem::Name => Self::NameInvalid,
            SenderProblem::Email => Self::EmailInvalid,
            SenderProblem::EmailName | SenderProblem::EmailNameAlone => Self::EmailNameInvalid,
            SenderProblem::Whatsapp | SenderProblem::WhatsappInStock => Self::WhatsappInvalid,
            SenderProblem::Telegram => Self::TelegramInvalid,
            SenderProblem::NumberUnknown => Self::NumberNotFound,
            SenderProblem::NumberInUse => Self::NumberInUse,
        }
    }
}

impl From<SenderProblem> for UpdateSenderRefusal {
    fn from(problem: SenderProblem) -> Self {
        match problem {
            SenderProblem::Name => Self::NameInvalid,
            SenderProblem::Email => Self::EmailInvalid,
            SenderProblem::EmailName | SenderProblem::EmailNameAlone => Self::EmailNameInvalid,
            SenderProblem::Whatsapp | SenderProblem::WhatsappInStock => Self::WhatsappInvalid,
            SenderProblem::Telegram => Self::TelegramInvalid,
            SenderProblem::NumberUnknown => Self::NumberNotFound,
            SenderProblem::NumberInUse => Self::NumberInUse,
        }
    }
}

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

/// Creates a sender. The first sender of an account always becomes its default.
pub async fn create(
    app: &App,
    account: &LiveAccountCaller,
    new: NewSender,
) -> Result<sender::Model, Failure<CreateSenderRefusal>> {
    let is_default = new.is_default;
    let (id, now) = (app.new_id(), app.clock.now());
    let details = SenderChange::from(new).checked::<CreateSenderRefusal>()?;
    let mut created = sender::Model {
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
    details.apply::<CreateSenderRefusal>(&mut created)?;

    let txn = begin_in_team_as_account(app, account).await?;
    let others = Entity::owned_by(account.account_id()).all(&txn).await?;
    if others.len() >= SENDERS_PER_ACCOUNT_MAX {
        let message = "The account already has 100 senders (the maximum). Delete one first.";
        return Err(refused(CreateSenderRefusal::TooManySenders, &[], message));
    }
    check_number::<CreateSenderRefusal>(&txn, &created).await?;
    check_whatsapp::<CreateSenderRefusal>(&txn, &created).await?;
    created.is_default = is_default || others.is_empty();
    if created.is_default {
        clear_default(app, &txn, account.account_id()).await?;
    }
    Entity::insert(created.clone().into_active_model()).exec_without_returning(&txn).await?;
    let entry = Entry::of(AuditAction::CreateSender, created.id);
    txn.commit(app, entry.made(settings(&created))).await?;
    app.senders.forget(account.account_id());
    Ok(created)
}

/// Changes the given fields and keeps the others. Accepted messages keep the identity that they were accepted with.
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
            let message =
                "An account needs a default sender. Make another sender the default instead.";
            return Err(refused(Refusal::DefaultNeeded, &["input", "isDefault"], message));
        }
        Some(true) if !sender.is_default => {
            clear_default(app, &txn, account.account_id()).await?;
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

/// Deletes a sender and returns its id. The deletion is refused while a message is waiting to be sent from the sender.
/// Messages that were sent from the sender keep their `from`.
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
        let message =
            "A message from this sender is waiting for delivery. Cancel it, or try again later.";
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

/// Returns the sender's fields for the audit log. Addresses are left out.
fn settings(sender: &sender::Model) -> Settings {
    Settings::from([
        ("name", json!(sender.name)),
        ("phoneNumberId", json!(sender.phone_number_id)),
        ("isDefault", json!(sender.is_default)),
    ])
}

/// Refuses a phone number that the account does not have or that another sender uses.
async fn check_number<C: From<SenderProblem>>(
    txn: &DatabaseTransaction,
    sender: &sender::Model,
) -> Result<(), Failure<C>> {
    let Some(number_id) = sender.phone_number_id else { return Ok(()) };
    let number = phone_number::Entity::owned_by(sender.account_id)
        .filter(phone_number::Column::Id.eq(number_id))
        .filter(phone_number::Entity::is_held())
        .one(txn)
        .await?
        .ok_or_else(|| SenderProblem::NumberUnknown.refused())?;
    let user = references::sender_of(txn, &number).await?;
    if user.is_some_and(|user| user.id != sender.id) {
        return Err(SenderProblem::NumberInUse.refused());
    }
    Ok(())
}

/// Refuses a WhatsApp number from the inventory. Such a number must be bought and set as `phone_number_id`.
async fn check_whatsapp<C: From<SenderProblem>>(
    txn: &DatabaseTransaction,
    sender: &sender::Model,
) -> Result<(), Failure<C>> {
    let Some(whatsapp) = &sender.whatsapp else { return Ok(()) };
    match inventory_number::Entity::find_by_id(whatsapp).one(txn).await? {
        Some(_) => Err(SenderProblem::WhatsappInStock.refused()),
        None => Ok(()),
    }
}

/// Selects the messages that are waiting to be sent from a sender.
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

/// Removes the default mark from the account's default sender, before another sender becomes the default.
async fn clear_default(
    app: &App,
    txn: &DatabaseTransaction,
    account_id: Uuid,
) -> Result<(), Fault> {
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
