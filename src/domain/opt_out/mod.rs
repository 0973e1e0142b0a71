//! Opt-outs: addresses that want nothing more from an account by a channel. They are the account's in both
//! environments, and are kept and compared by [`recipient::identity`], so that another spelling is no way around
//! one. A send to one is refused before anything is charged (`billing::batch`), from the commit of the opt-out on:
//! the accept path looks for it under the team's lock.

use std::collections::BTreeMap;

use entity::{
    audit_entry::AuditAction,
    message::Channel,
    opt_out::{self, Column, Entity, OptOutSource},
};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    sea_query::OnConflict,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Failure, Fault, Refusal,
    account::AccountIds,
    api_key::authentication::begin_as_account,
    audit_log::{Entry, Settings},
    bad_input,
    caller::LiveAccountCaller,
    channel::recipient::{self, Recipient},
    refused,
    validate::{self, REASON_RULE},
};
use crate::app::App;

pub mod inbound;
pub mod list;

/// Opt-outs that one call imports at most.
pub const IMPORTED_MAX: usize = 1_000;

entity::api_enum! {
    /// Why an opt-out was not added.
    pub enum AddOptOutRefusal {
        /// The address is not one of its channel.
        AddressInvalid,
        /// The reason is empty, longer than 500 characters, or has control characters.
        ReasonInvalid,
    }

    /// Why an opt-out was not removed.
    pub enum RemoveOptOutRefusal {
        /// The address is not opted out of the account's messages on this channel.
        NotFound,
        /// The address is not one of its channel.
        AddressInvalid,
    }
}

/// An address, in any form that a send takes, that is to be opted out.
#[derive(Clone, Debug, Default)]
pub struct NewOptOut {
    pub channel: Option<Channel>,
    pub address: String,
    pub reason: Option<String>,
}

/// What became of one opt-out of several.
pub type Imported = Result<opt_out::Model, Refusal<AddOptOutRefusal>>;

/// Adds an opt-out. One that is there already stays as it is.
pub async fn add(
    app: &App,
    account: &LiveAccountCaller,
    new: NewOptOut,
) -> Result<opt_out::Model, Failure<AddOptOutRefusal>> {
    let checked = check(app, account.into(), new, OptOutSource::Api)?;
    let txn = begin_as_account(app, account).await?;
    let kept = insert(&txn, vec![checked]).await?.pop();
    let kept = kept.ok_or(Fault::Broken("an opt-out that was added is there"))?;
    txn.commit(app, Entry::of(AuditAction::AddOptOut, kept.id)).await?;
    Ok(kept)
}

/// Adds up to 1,000 opt-outs, each with a verdict of its own, in order.
pub async fn import(
    app: &App,
    account: &LiveAccountCaller,
    new: Vec<NewOptOut>,
) -> Result<Vec<Imported>, Fault> {
    if new.len() > IMPORTED_MAX {
        return Err(bad_input(
            "One call imports at most 1000 opt-outs; import the rest in another.",
        ));
    }
    let mut checked: Vec<Imported> = Vec::with_capacity(new.len());
    for new in new {
        checked.push(match check(app, account.into(), new, OptOutSource::Import) {
            Ok(row) => Ok(row),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(Failure::Fault(fault)) => return Err(fault),
        });
    }
    let good: Vec<_> = checked.iter().filter_map(|checked| checked.clone().ok()).collect();
    let txn = begin_as_account(app, account).await?;
    let kept = insert(&txn, good).await?;
    let counts = Settings::from([
        ("imported", json!(kept.len())),
        ("refused", json!(checked.len() - kept.len())),
    ]);
    txn.commit(app, Entry::of(AuditAction::ImportOptOuts, None).made(counts)).await?;
    let places = checked.iter_mut().filter_map(|checked| checked.as_mut().ok());
    places.zip(kept).for_each(|(place, kept)| *place = kept);
    Ok(checked)
}

/// Removes an opt-out: the address may be sent to again.
pub async fn remove(
    app: &App,
    account: &LiveAccountCaller,
    channel: Option<Channel>,
    address: &str,
) -> Result<opt_out::Model, Failure<RemoveOptOutRefusal>> {
    use RemoveOptOutRefusal as Refusal;
    let field = &["input", "address"];
    let recipient = recipient::parse(address, channel)
        .map_err(|rule| refused(Refusal::AddressInvalid, field, rule))?;
    let txn = begin_as_account(app, account).await?;
    let removed = delete(&txn, account.account_id(), &recipient).await?;
    let removed = removed
        .ok_or_else(|| refused(Refusal::NotFound, field, "The address is not opted out."))?;
    txn.commit(app, Entry::of(AuditAction::RemoveOptOut, removed.id)).await?;
    Ok(removed)
}

fn check(
    app: &App,
    owner: AccountIds,
    new: NewOptOut,
    source: OptOutSource,
) -> Result<opt_out::Model, Failure<AddOptOutRefusal>> {
    use AddOptOutRefusal as Refusal;
    let recipient = recipient::parse(&new.address, new.channel)
        .map_err(|rule| refused(Refusal::AddressInvalid, &["input", "address"], rule))?;
    let reason =
        match new.reason {
            None => None,
            Some(reason) => Some(validate::note(&reason).ok_or_else(|| {
                refused(Refusal::ReasonInvalid, &["input", "reason"], REASON_RULE)
            })?),
        };
    Ok(row(app, owner, &recipient, source, reason))
}

/// An opt-out's row; nothing is stored yet.
pub(super) fn row(
    app: &App,
    owner: AccountIds,
    recipient: &Recipient,
    source: OptOutSource,
    reason: Option<String>,
) -> opt_out::Model {
    opt_out::Model {
        id: app.new_id(),
        team_id: owner.team_id,
        account_id: owner.account_id,
        channel: recipient.channel,
        address: recipient.identity().into_owned(),
        source,
        reason,
        created_at: app.clock.now(),
    }
}

/// Writes these opt-outs of one account unless they are there already, and gives each as it is now.
pub(super) async fn insert(
    txn: &DatabaseTransaction,
    rows: Vec<opt_out::Model>,
) -> Result<Vec<opt_out::Model>, Fault> {
    // Each once, and in one order, so that no two that add the same addresses wait for each other.
    let mut kept: BTreeMap<_, _> = BTreeMap::new();
    for row in &rows {
        kept.entry(key(row)).or_insert_with(|| row.clone());
    }
    if !kept.is_empty() {
        let unique = [Column::AccountId, Column::Channel, Column::Address];
        // One that is there is locked by being written as it is, so that nobody removes it meanwhile.
        let stays = OnConflict::columns(unique).update_column(Column::Address).to_owned();
        let written =
            Entity::insert_many(kept.into_values().map(IntoActiveModel::into_active_model))
                .on_conflict(stays)
                .exec_with_returning(txn)
                .await?;
        kept = written.into_iter().map(|row| (key(&row), row)).collect();
    }
    let now = rows.iter().map(|row| kept.get(&key(row)).cloned());
    now.collect::<Option<_>>().ok_or(Fault::Broken("an opt-out that was added is there"))
}

fn key(row: &opt_out::Model) -> (Channel, String) {
    (row.channel, row.address.clone())
}

/// Takes an opt-out away, and gives it if there was one.
pub(super) async fn delete(
    txn: &DatabaseTransaction,
    account_id: Uuid,
    recipient: &Recipient,
) -> Result<Option<opt_out::Model>, Fault> {
    let removed = Entity::delete_many()
        .filter(Column::AccountId.eq(account_id))
        .filter(Column::Channel.eq(recipient.channel))
        .filter(Column::Address.eq(recipient.identity()))
        .exec_with_returning(txn)
        .await?;
    Ok(removed.into_iter().next())
}
