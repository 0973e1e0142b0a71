//! Chooses the sender of a message and the sender's identity (`from`) on the message's channel. The sender is the one
//! that the message names, or the account's default sender. A message keeps the identity that it was accepted with. A
//! phone number is an identity only while the account has the number and the number is ACTIVE.
//!
//! Senders come from a cache that is at most one second old, so a send needs no extra query. A sender that is not in
//! the cache is read from the database, so a sender just created by another process is found. A change by another
//! process may take one second to apply to new messages; balances do not depend on senders.

use crate::domain::channel::sender_cache::{CachedSender, Origin};

use entity::{
    message::Channel,
    phone_number::{self, PhoneNumberStatus},
    sender,
};
use sea_orm::Iterable;
use uuid::Uuid;

use crate::domain::{Refusal, channel::send_refusal::SendRefusal};

/// Returns the origin of a message. A named sender must have an identity on the message's channel. If the default
/// sender has no identity on the channel, the message is sent without a sender.
pub(in crate::domain) fn choose(
    senders: &[CachedSender],
    named: Option<Uuid>,
    channel: Channel,
) -> Result<Option<Origin>, Refusal<SendRefusal>> {
    let Some(named) = named else {
        let default = senders.iter().find(|known| known.sender.is_default);
        return Ok(default.and_then(|known| origin(known, channel)));
    };
    let refusal = |code: SendRefusal| Refusal {
        code,
        message: code.message(Some(channel)).into(),
        field: &["input", "senderId"],
    };
    let known = senders.iter().find(|known| known.sender.id == named);
    let known = known.ok_or_else(|| refusal(SendRefusal::SenderNotFound))?;
    let cannot = || refusal(SendRefusal::SenderUnavailable);
    origin(known, channel).map(Some).ok_or_else(cannot)
}

fn origin(known: &CachedSender, channel: Channel) -> Option<Origin> {
    let sent_from = identity(&known.sender, known.number.as_ref(), channel)?;
    Some(Origin { sender_id: known.sender.id, sent_from })
}

/// Returns the channels on which a sender with this number can currently send.
pub fn channels(sender: &sender::Model, number: Option<&phone_number::Model>) -> Vec<Channel> {
    let can_send = |channel: &Channel| identity(sender, number, *channel).is_some();
    Channel::iter().filter(can_send).collect()
}

/// Returns the `from` of the sender's messages on this channel; `None` if the sender cannot send on the channel.
fn identity(
    sender: &sender::Model,
    number: Option<&phone_number::Model>,
    channel: Channel,
) -> Option<String> {
    let by_number = || {
        let is_usable = |number: &&phone_number::Model| {
            number.account_id == sender.account_id
                && number.status == PhoneNumberStatus::Active
                && number.capabilities().contains(&channel)
        };
        number.filter(is_usable).map(|number| number.number.clone())
    };
    match channel {
        Channel::Sms => by_number(),
        Channel::Whatsapp => sender.whatsapp.clone().or_else(by_number),
        Channel::Email => {
            let address = sender.email.as_deref()?;
            Some(mailbox(sender.email_name.as_deref(), address))
        }
        Channel::Telegram => sender.telegram.clone(),
    }
}

/// Returns a mailbox as defined in RFC 5322 (section 3.4). The name is quoted if it contains special characters.
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
    fn a_mailbox_quotes_a_name_with_special_characters() {
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
