//! Opt-outs: addresses to which an account must not send messages on a channel. Opt-outs apply to both environments.
//! They are stored and compared by [`recipient::identity`], so that another spelling of the address is refused too.
//! Once an opt-out is committed, every send to the address is refused before anything is charged (`billing::batch`),
//! because opt-outs are read under the team's lock.

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

/// Maximum number of opt-outs that one call can import.
pub const IMPORTED_MAX: usize = 1_000;

entity::api_enum! {
    /// Reasons why addOptOut, or an address of importOptOuts, is refused.
    pub enum AddOptOutRefusal {
        /// The address is not valid for its channel.
        AddressInvalid,
        /// The reason is blank, longer than 500 characters, or contains control characters.
        ReasonInvalid,
    }

    /// Reasons why removeOptOut is refused.
    pub enum RemoveOptOutRefusal {
        /// The address is not opted out on this channel.
        NotFound,
        /// The address is not valid for its channel.
        AddressInvalid,
    }
}

/// An opt-out to add; its address may have any form that a send accepts.
#[derive(Clone, Debug, Default)]
pub struct NewOptOut {
    pub channel: Option<Channel>,
    pub address: String,
    pub reason: Option<String>,
}

/// The result of one opt-out of an import.
pub type Imported = Result<opt_out::Model, Refusal<AddOptOutRefusal>>;

/// Adds an opt-out. An existing opt-out is not changed.
pub async fn add(
    app: &App,
    account: &LiveAccountCaller,
    new: NewOptOut,
) -> Result<opt_out::Model, Failure<AddOptOutRefusal>> {
    let checked = check(app, account.into(), new, OptOutSource::Api)?;
    let txn = begin_as_account(app, account).await?;
    let stored = insert(&txn, vec![checked]).await?.pop();
    let stored = stored.ok_or(Fault::Broken("an added opt-out exists"))?;
    txn.commit(app, Entry::of(AuditAction::AddOptOut, stored.id)).await?;
    Ok(stored)
}

/// Adds up to 1,000 opt-outs, and returns the result of each in order.
pub async fn import(
    app: &App,
    account: &LiveAccountCaller,
    new: Vec<NewOptOut>,
) -> Result<Vec<Imported>, Fault> {
    if new.len() > IMPORTED_MAX {
        return Err(bad_input(
            "A call can import at most 1000 opt-outs; split it into several calls.",
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
    let valid: Vec<_> = checked.iter().filter_map(|checked| checked.clone().ok()).collect();
    let txn = begin_as_account(app, account).await?;
    let stored = insert(&txn, valid).await?;
    let counts = Settings::from([
        ("imported", json!(stored.len())),
        ("refused", json!(checked.len() - stored.len())),
    ]);
    txn.commit(app, Entry::of(AuditAction::ImportOptOuts, None).made(counts)).await?;
    let added = checked.iter_mut().filter_map(|checked| checked.as_mut().ok());
    added.zip(stored).for_each(|(row, stored)| *row = stored);
    Ok(checked)
}

/// Removes an opt-out, so that the account can send to the address again.
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

/// Creates the row of a new opt-out without storing it.
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

/// Stores these opt-outs of one account unless they exist already, and returns the stored row of each.
pub(super) async fn insert(
    txn: &DatabaseTransaction,
    rows: Vec<opt_out::Model>,
) -> Result<Vec<opt_out::Model>, Fault> {
    // The rows are inserted without duplicates and in a fixed order, so that concurrent imports of the same addresses
    // cannot deadlock.
    let mut stored: BTreeMap<_, _> = BTreeMap::new();
    for row in &rows {
        stored.entry(key(row)).or_insert_with(|| row.clone());
    }
    if !stored.is_empty() {
        let unique = [Column::AccountId, Column::Channel, Column::Address];
        // An existing row is updated without a change. This locks the row, so that it cannot be removed concurrently.
        let keep = OnConflict::columns(unique).update_column(Column::Address).to_owned();
        let written =
            Entity::insert_many(stored.into_values().map(IntoActiveModel::into_active_model))
                .on_conflict(keep)
                .exec_with_returning(txn)
                .await?;
        stored = written.into_iter().map(|row| (key(&row), row)).collect();
    }
    let stored = rows.iter().map(|row| stored.get(&key(row)).cloned());
    stored.collect::<Option<_>>().ok_or(Fault::Broken("an added opt-out exists"))
}

fn key(row: &opt_out::Model) -> (Channel, String) {
    (row.channel, row.address.clone())
}

/// Deletes an opt-out and returns it; `None` if there was none.
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
