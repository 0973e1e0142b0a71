//! As whom a message goes out: the sender that it names, or its account's default one, and that one's
//! identity on the message's channel. A message keeps the identity's text as of its acceptance.
//!
//! Sends go by what the process knows of an account's senders, which is at most a second old, as prices and
//! keys are, so that a send costs no reading of its own. A sender that is not known is looked for again, so
//! one that was just made on another process is found. What was changed or deleted there within that
//! second is still gone by; a message so accepted keeps its `from`, and the books are not concerned.

use std::{sync::Arc, time::Duration};

use entity::{message::Channel, sender};
use sea_orm::Iterable;
use uuid::Uuid;

use super::{Fault, fresh::Fresh};
use crate::db::Db;

/// A changed sender counts on every process after this time at the latest.
const FRESH_FOR: Duration = Duration::from_secs(1);
const ACCOUNTS_KNOWN_MAX: u64 = 10_000;

/// Senders of accounts that sent of late.
pub struct Senders(Fresh<Uuid, Arc<Vec<sender::Model>>>);

impl Default for Senders {
    fn default() -> Self {
        Self(Fresh::new(ACCOUNTS_KNOWN_MAX, FRESH_FOR))
    }
}

impl Senders {
    /// An account's senders, which hold all of these ids if the account has them.
    pub async fn of_account(
        &self,
        db: &Db,
        account_id: Uuid,
        ids: &[Uuid],
    ) -> Result<Arc<Vec<sender::Model>>, Fault> {
        let known = self.0.get(account_id, || read(db, account_id)).await;
        let known = known.map_err(|fault| (*fault).clone())?;
        let is_known = |id: &Uuid| known.iter().any(|sender| sender.id == *id);
        if ids.iter().all(is_known) { Ok(known) } else { read(db, account_id).await }
    }

    /// Forgets all, for some have changed.
    pub fn forget(&self) {
        self.0.forget();
    }
}

async fn read(db: &Db, account_id: Uuid) -> Result<Arc<Vec<sender::Model>>, Fault> {
    Ok(Arc::new(sender::Entity::owned_by(account_id).all(&db.read).await?))
}

/// As whom a message goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub sender_id: Uuid,
    /// The identity on the message's channel.
    pub sent_from: String,
}

/// Why a message cannot go out by the sender that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginRefusal {
    /// The account has no such sender.
    Unknown,
    /// The sender has no identity on the message's channel.
    CannotSend,
}

/// The origin of a message: the sender that it names must have an identity on its channel; an account's
/// default sender need not, and the message goes out without one then.
pub fn choose(
    senders: &[sender::Model],
    named: Option<Uuid>,
    channel: Channel,
) -> Result<Option<Origin>, OriginRefusal> {
    let Some(named) = named else {
        let default = senders.iter().find(|sender| sender.is_default);
        return Ok(default.and_then(|sender| origin(sender, channel)));
    };
    let sender = senders.iter().find(|sender| sender.id == named).ok_or(OriginRefusal::Unknown)?;
    origin(sender, channel).map(Some).ok_or(OriginRefusal::CannotSend)
}

fn origin(sender: &sender::Model, channel: Channel) -> Option<Origin> {
    let sent_from = identity(sender, channel)?;
    Some(Origin { sender_id: sender.id, sent_from })
}

/// The channels that the sender can send on now.
pub fn channels(sender: &sender::Model) -> Vec<Channel> {
    Channel::iter().filter(|channel| identity(sender, *channel).is_some()).collect()
}

/// What the sender's messages come from on this channel; `None` if it cannot send there.
fn identity(sender: &sender::Model, channel: Channel) -> Option<String> {
    match channel {
        Channel::Sms => None,
        Channel::Whatsapp => sender.whatsapp.clone(),
        Channel::Email => {
            let address = sender.email.as_deref()?;
            Some(mailbox(sender.email_name.as_deref(), address))
        }
        Channel::Telegram => sender.telegram.clone(),
    }
}

/// A mailbox as RFC 5322 (section 3.4) writes it: the name is quoted where it holds more than words.
fn mailbox(name: Option<&str>, address: &str) -> String {
    let Some(name) = name else { return address.to_owned() };
    let is_plain = |c: char| c == ' ' || c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    if name.chars().all(is_plain) {
        return format!("{name} <{address}>");
    }
    let name = name.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{name}\" <{address}>")
}

#[cfg(test)]
mod tests {
    use super::mailbox;

    #[test]
    fn a_mailbox_quotes_what_is_more_than_words() {
        for (name, expected) in [
            (None, "ada@example.com"),
            (Some("Ada Lovelace"), "Ada Lovelace <ada@example.com>"),
            (Some("Zoë & Søn"), "Zoë & Søn <ada@example.com>"),
            (Some("Acme, Inc."), "\"Acme, Inc.\" <ada@example.com>"),
            (Some("<eve@example.com>"), "\"<eve@example.com>\" <ada@example.com>"),
            (Some("A \"B\" \\"), "\"A \\\"B\\\" \\\\\" <ada@example.com>"),
        ] {
            assert_eq!(mailbox(name, "ada@example.com"), expected);
        }
    }
}
