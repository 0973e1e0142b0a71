//! What a sender is made of, checked alike when it is made and when it is changed.

use entity::{message::Channel, sender};
use uuid::Uuid;

use crate::domain::{
    Failure,
    channel::recipient,
    refused,
    validate::{self, NAME_RULE},
};

const EMAIL_RULE: &str = "The email must be an e-mail address, such as news@example.com.";
const EMAIL_NAME_RULE: &str = "The emailName must have 1 to 200 characters, at least one of them visible, and no control, line-separator or direction characters.";
const EMAIL_NAME_ALONE: &str = "The emailName stands before an email, and there is none.";
const WHATSAPP_RULE: &str = "The whatsapp must be a phone number in E.164, such as +12025550123.";
const WHATSAPP_IN_STOCK: &str = "The whatsapp is a number that this server sells; give the sender its \
     phoneNumberId instead, once the account has it.";
const TELEGRAM_RULE: &str = "The telegram must be a bot's username: a letter, then letters, digits \
     and underscores, 5 to 32 in all, such as @acme_bot.";
const NUMBER_UNKNOWN: &str = "There is no such phone number.";
const NUMBER_IN_USE: &str = "Another sender has the number; take it away from that first.";

/// What to change: `None` keeps, `Some(None)` clears.
#[derive(Default)]
pub struct SenderChange {
    pub name: Option<String>,
    pub phone_number_id: Option<Option<Uuid>>,
    pub email: Option<Option<String>>,
    pub email_name: Option<Option<String>>,
    pub whatsapp: Option<Option<String>>,
    pub telegram: Option<Option<String>>,
    /// Only to become the default: another one takes its place when it is to be that no more.
    pub is_default: Option<bool>,
}

/// What is wrong with a [`SenderChange`]; each mutation has a code for it.
#[derive(Clone, Copy)]
pub(in crate::domain) enum Detail {
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

impl Detail {
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
    /// Checks and normalises what is given, but for the phone number.
    pub(in crate::domain) fn checked<C: From<Detail>>(self) -> Result<Self, Failure<C>> {
        let name = match self.name {
            None => None,
            Some(name) => Some(validate::name(&name).ok_or_else(|| Detail::Name.refused())?),
        };
        let address = |text: &str, channel| {
            recipient::parse(text, Some(channel)).ok().map(|recipient| recipient.address)
        };
        let email = |text: &str| address(text, Channel::Email);
        let whatsapp = |text: &str| address(text, Channel::Whatsapp);
        Ok(Self {
            name,
            email: patch(self.email, email, Detail::Email)?,
            email_name: patch(self.email_name, validate::name, Detail::EmailName)?,
            whatsapp: patch(self.whatsapp, whatsapp, Detail::Whatsapp)?,
            telegram: patch(self.telegram, bot_username, Detail::Telegram)?,
            ..self
        })
    }

    /// Writes what is given of a checked change into the row, but for the default, which concerns
    /// the account's other senders too.
    pub(in crate::domain) fn apply<C: From<Detail>>(
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
                return Err(Detail::EmailNameAlone.refused());
            }
            // The address took its name along.
            row.email_name = None;
        }
        Ok(())
    }
}

/// A field that is kept or cleared passes; one that is set must pass the check.
fn patch<C: From<Detail>>(
    field: Option<Option<String>>,
    check: impl Fn(&str) -> Option<String>,
    detail: Detail,
) -> Result<Option<Option<String>>, Failure<C>> {
    match field {
        Some(Some(text)) => {
            check(&text).map(|text| Some(Some(text))).ok_or_else(|| detail.refused())
        }
        kept_or_cleared => Ok(kept_or_cleared),
    }
}

/// A bot's username with its `@`, in the capitals that it is given in.
fn bot_username(text: &str) -> Option<String> {
    let text = text.trim();
    let name = text.strip_prefix('@').unwrap_or(text);
    let is_username = (5..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_username.then(|| format!("@{name}"))
}
