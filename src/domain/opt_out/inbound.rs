//! Inbound messages: the keywords by which recipients opt out and in again. Carriers pass received messages to this
//! module.

use entity::{message::Channel, opt_out::OptOutSource};
use sea_orm::DatabaseTransaction;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use crate::{
    app::App,
    domain::{
        Fault, account::AccountIds, api_key::authentication::hold_key, caller::LiveAccountCaller,
        channel::recipient, opt_out,
    },
};

/// The keywords of 47 CFR 64.1200(a)(10) and of the large carriers. A keyword must be the whole text: "STOP" opts out,
/// "Stop it" does not. Case, spaces and punctuation are ignored ([`word_of`]).
const STOP_WORDS: [&str; 11] = [
    "STOP",
    "STOPALL",
    "UNSUBSCRIBE",
    "CANCEL",
    "END",
    "QUIT",
    "REVOKE",
    "OPTOUT",
    "REMOVE",
    "ARRET",
    "TD",
];
const START_WORDS: [&str; 3] = ["START", "YES", "UNSTOP"];
/// Maximum number of characters in a keyword.
const WORD_CHARS_MAX: usize = 64;

/// The keywords that opt out.
#[derive(Clone, Debug, Default)]
pub struct StopWords {
    /// Keywords in addition to [`STOP_WORDS`], normalized by [`word_of`].
    others: Vec<String>,
}

impl StopWords {
    /// Returns the default keywords and additional keywords, such as those of another language.
    pub fn with(others: &[String]) -> Self {
        Self { others: others.iter().map(|word| word_of(word)).collect() }
    }

    fn contains(&self, word: &str) -> bool {
        STOP_WORDS.contains(&word) || self.others.iter().any(|other| other == word)
    }
}

/// A message that a carrier received from `from` on `channel`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundMessage {
    pub channel: Channel,
    pub from: String,
    pub text: String,
}

/// The effect of an inbound message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InboundEffect {
    /// The address is now opted out.
    OptedOut,
    /// The address is no longer opted out.
    OptedIn,
    /// The text is not a keyword, or its sender is not a valid recipient.
    None,
}

/// Processes an inbound message to the caller's account, as reported by the caller.
pub async fn receive(
    app: &App,
    account: &LiveAccountCaller,
    message: &InboundMessage,
    stop_words: &StopWords,
) -> Result<InboundEffect, Fault> {
    let txn = app.db.begin_write_in_slot(account.account()).await?;
    hold_key(app, &txn, account).await?;
    let effect = record_inbound_message(app, &txn, account.into(), message, stop_words).await?;
    txn.commit().await?;
    Ok(effect)
}

/// Processes an inbound message to an account. A STOP keyword opts its sender out of the account's messages on that
/// channel. A START keyword opts the sender in again, regardless of how the opt-out was created. The message itself is
/// not stored.
pub async fn record_inbound_message(
    app: &App,
    txn: &DatabaseTransaction,
    owner: AccountIds,
    message: &InboundMessage,
    stop_words: &StopWords,
) -> Result<InboundEffect, Fault> {
    let word = word_of(&message.text);
    let is_stop = stop_words.contains(&word);
    // A START keyword must be exact, except for case and surrounding spaces, because it expresses consent.
    let exact = message.text.trim().to_ascii_uppercase();
    if !is_stop && !is_start_word(&exact) {
        return Ok(InboundEffect::None);
    }
    let Ok(sender) = recipient::parse(&message.from, Some(message.channel)) else {
        return Ok(InboundEffect::None);
    };
    if is_stop {
        let (reason, source) = (Some(word), OptOutSource::Inbound);
        let row = opt_out::row(app, owner, &sender, source, reason);
        opt_out::insert(txn, vec![row]).await?;
        Ok(InboundEffect::OptedOut)
    } else {
        opt_out::delete(txn, owner.account_id, &sender).await?;
        Ok(InboundEffect::OptedIn)
    }
}

/// Returns whether a keyword opts in again.
pub fn is_start_word(word: &str) -> bool {
    START_WORDS.contains(&word)
}

/// Normalizes text for comparison with keywords. The result has only letters and digits, in upper case and without
/// accents. Full-width letters become plain letters. Invisible characters, punctuation and spaces are removed. The
/// result is empty if the text is too long.
pub fn word_of(text: &str) -> String {
    // The text is decomposed first, because full-width and styled letters have upper case only as plain letters.
    let plain: String =
        text.nfkd().filter(|char| char.is_alphanumeric()).take(WORD_CHARS_MAX + 1).collect();
    if plain.chars().count() > WORD_CHARS_MAX {
        return String::new();
    }
    plain.to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_compared_by_their_letters() {
        for (text, word) in [
            ("STOP", "STOP"),
            (" stop.\n", "STOP"),
            ("\u{201c}Stop!\u{201d}", "STOP"),
            ("STOP\u{200b}", "STOP"),
            ("\u{ff33}\u{ff34}\u{ff2f}\u{ff30}", "STOP"),
            ("Opt-out", "OPTOUT"),
            ("opt out", "OPTOUT"),
            ("stop all", "STOPALL"),
            ("Arr\u{ea}t", "ARRET"),
            ("arre\u{302}t", "ARRET"),
            ("Stop it", "STOPIT"),
            ("\u{441}\u{442}\u{43e}\u{43f}", "\u{421}\u{422}\u{41e}\u{41f}"),
            ("\u{1f44d}", ""),
            ("", ""),
        ] {
            assert_eq!(word_of(text), word, "{text}");
        }
        assert_eq!(word_of(&format!("STOP{}", " ".repeat(500))), "STOP");
        assert_eq!(word_of(&format!("{}STOP", ".".repeat(500))), "STOP");
        assert_eq!(word_of("\u{1d412}\u{1d42d}\u{1d428}\u{1d429}"), "STOP");
        assert_eq!(word_of(&"S".repeat(65)), "");
    }
}
