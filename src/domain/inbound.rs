//! What people write back, as far as it is an answer to being written to: the words by which they opt out and
//! in again. A carrier that receives text hands it over here.

use entity::{message::Channel, opt_out::OptOutSource};
use sea_orm::DatabaseTransaction;
use serde::{Deserialize, Serialize};

use super::{
    Fault, account::AccountIds, authentication::hold_key, caller::LiveAccountCaller, opt_out,
    recipient,
};
use crate::App;

/// Each is the whole text, in upper or lower case: "STOP" opts out, "Stop it" says something else.
const STOP_WORDS: [&str; 6] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"];
const START_WORDS: [&str; 3] = ["START", "YES", "UNSTOP"];

/// A text that a carrier received from `from` by `channel`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundMessage {
    pub channel: Channel,
    pub from: String,
    pub text: String,
}

/// What an inbound message did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InboundEffect {
    /// The address is opted out now, if it was not before.
    OptedOut,
    /// The address is not opted out any more, if it was.
    OptedIn,
    /// It is no word that means one of these, or its sender cannot be sent to.
    None,
}

/// Takes a message that somebody, by the word of the caller, wrote to the caller's account.
pub async fn receive(
    app: &App,
    account: &LiveAccountCaller,
    message: &InboundMessage,
) -> Result<InboundEffect, Fault> {
    let txn = app.db.begin_write_in_turn(account.account()).await?;
    hold_key(app, &txn, account).await?;
    let effect = record_inbound_message(app, &txn, account.into(), message).await?;
    txn.commit().await?;
    Ok(effect)
}

/// Takes a message to an account: a word of the STOP family opts its sender out of the account's messages on that
/// channel; one of the START family opts it in again, whoever had opted it out. The message itself is not kept yet.
pub async fn record_inbound_message(
    app: &App,
    txn: &DatabaseTransaction,
    owner: AccountIds,
    message: &InboundMessage,
) -> Result<InboundEffect, Fault> {
    let word = message.text.trim().to_ascii_uppercase();
    let is_stop = STOP_WORDS.contains(&word.as_str());
    if !is_stop && !START_WORDS.contains(&word.as_str()) {
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
