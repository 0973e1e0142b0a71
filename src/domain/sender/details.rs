//! Checks and normalizes the fields of a sender. Creating and changing a sender share these rules. The phone number is
//! checked in the sender's transaction instead, because the check needs the database.

use entity::{message::Channel, sender};
use uuid::Uuid;

use crate::domain::{
    Failure,
    channel::recipient,
    refused,
    validate::{self, NAME_RULE},
};

const EMAIL_RULE: &str = "The email must be an e-mail address, such as news@example.com.";
const EMAIL_NAME_RULE: &str = "The emailName must have 1 to 200 characters, at least one of them visible, and no \
                               control, line-separator or bidirectional control characters.";
const EMAIL_NAME_ALONE: &str = "The emailName can be set only together with email. Set email too.";
const WHATSAPP_RULE: &str = "The WhatsApp number must be in E.164 format, such as +12025550123.";
const WHATSAPP_IN_STOCK: &str = "The WhatsApp number is in this server's inventory. Buy it, and set phoneNumberId instead of whatsapp.";
const TELEGRAM_RULE: &str = "The Telegram username must be a bot's username of 5 to 32 letters, digits and underscores that \
     begins with a letter, such as @acme_bot.";
const NUMBER_UNKNOWN: &str = "There is no such phone number.";
const NUMBER_IN_USE: &str = "Another sender uses the number. Remove it from that sender first.";

/// The fields to change. `None` keeps the value, and `Some(None)` removes it.
#[derive(Default)]
pub struct SenderChange {
    pub name: Option<String>,
    pub phone_number_id: Option<Option<Uuid>>,
    pub email: Option<Option<String>>,
    pub email_name: Option<Option<String>>,
    pub whatsapp: Option<Option<String>>,
    pub telegram: Option<Option<String>>,
    /// Only `true` has an effect. An account with senders always has a default sender, which can only be replaced by
    /// another sender.
    pub is_default: Option<bool>,
}

/// The reason why a [`SenderChange`] is invalid. Each mutation has its own error codes for these reasons.
#[derive(Clone, Copy)]
pub(in crate::domain) enum SenderProblem {
    Name,
    Email,
    EmailName,
    EmailNameAlone,
    Whatsapp,
    WhatsappInStock,
    Telegram,
    NumberUnknown,
    NumberInUse,
}

impl SenderProblem {
    pub(in crate::domain) fn refused<C: From<Self>>(self) -> Failure<C> {
        let (field, rule): (&'static [&'static str], _) = match self {
            Self::Name => (&["input", "name"], NAME_RULE),
            Self::Email => (&["input", "email"], EMAIL_RULE),
            Self::EmailName => (&["input", "emailName"], EMAIL_NAME_RULE),
            Self::EmailNameAlone => (&["input", "emailName"], EMAIL_NAME_ALONE),
            Self::Whatsapp => (&["input", "whatsapp"], WHATSAPP_RULE),
            Self::WhatsappInStock => (&["input", "whatsapp"], WHATSAPP_IN_STOCK),
            Self::Telegram => (&["input", "telegram"], TELEGRAM_RULE),
            Self::NumberUnknown => (&["input", "phoneNumberId"], NUMBER_UNKNOWN),
            Self::NumberInUse => (&["input", "phoneNumberId"], NUMBER_IN_USE),
        };
        refused(self.into(), field, rule)
    }
}

impl SenderChange {
    /// Checks and normalizes the given fields, except the phone number.
    pub(in crate::domain) fn checked<C: From<SenderProblem>>(self) -> Result<Self, Failure<C>> {
        let name = match self.name {
            None => None,
            Some(name) => Some(validate::name(&name).ok_or_else(|| SenderProblem::Name.refused())?),
        };
        let address = |text: &str, channel| {
            recipient::parse(text, Some(channel)).ok().map(|recipient| recipient.address)
        };
        let email = |text: &str| address(text, Channel::Email);
        let whatsapp = |text: &str| address(text, Channel::Whatsapp);
        Ok(Self {
            name,
            email: patch(self.email, email, SenderProblem::Email)?,
            email_name: patch(self.email_name, validate::name, SenderProblem::EmailName)?,
            whatsapp: patch(self.whatsapp, whatsapp, SenderProblem::Whatsapp)?,
            telegram: patch(self.telegram, bot_username, SenderProblem::Telegram)?,
            ..self
        })
    }

    /// Applies a checked change to the row, except `is_default`, which also affects the account's other senders.
    pub(in crate::domain) fn apply<C: From<SenderProblem>>(
        &self,
        row: &mut sender::Model,
    ) -> Result<(), Failure<C>> {
        if let Some(name) = &self.name {
            row.name.clone_from(name);
        }
        row.phone_number_id = self.phone_number_id.unwrap_or(row.phone_number_id);
        for (given, kept) in [
            (&self.email, &mut row.email),
            (&self.email_name, &mut row.email_name),
            (&self.whatsapp, &mut row.whatsapp),
            (&self.telegram, &mut row.telegram),
        ] {
            if let Some(given) = given {
                kept.clone_from(given);
            }
        }
        if row.email.is_none() && row.email_name.is_some() {
            if matches!(self.email_name, Some(Some(_))) {
                return Err(SenderProblem::EmailNameAlone.refused());
            }
            // The e-mail address was removed, so its display name is removed too.
            row.email_name = None;
        }
        Ok(())
    }
}

/// Applies `check` to a field that is set. A field that is kept or removed is always valid.
fn patch<C: From<SenderProblem>>(
    field: Option<Option<String>>,
    check: impl Fn(&str) -> Option<String>,
    problem: SenderProblem,
) -> Result<Option<Option<String>>, Failure<C>> {
    match field {
        Some(Some(text)) => {
            check(&text).map(|text| Some(Some(text))).ok_or_else(|| problem.refused())
        }
        kept_or_cleared => Ok(kept_or_cleared),
    }
}

/// Returns a bot's username including the `@`. Upper and lower case are kept.
fn bot_username(text: &str) -> Option<String> {
    let text = text.trim();
    let name = text.strip_prefix('@').unwrap_or(text);
    let is_username = (5..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_username.then(|| format!("@{name}"))
}
