//! Suspends, reactivates and deactivates sub-accounts. The status changes under the team's lock, so it applies to the
//! next send.

use entity::{
    account::{self, AccountStatus},
    audit_entry::AuditAction,
};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, DbErr};
use serde_json::json;
use uuid::Uuid;

use super::sub_account::{NOT_FOUND, find_sub_account, settings, write};
use crate::{
    app::App,
    domain::{
        Failure,
        account::AccountRef,
        api_key::{self, authentication::begin_as_main},
        audit_log::Entry,
        billing,
        caller::LiveMainCaller,
        events::Change,
        refused,
        validate::{self, REASON_RULE},
    },
};

entity::api_enum! {
    /// Reasons why suspendSubAccount is refused.
    pub enum SuspendSubAccountRefusal {
        /// The team has no such sub-account.
        NotFound,
        /// The reason is blank, longer than 500 characters, or contains control characters.
        ReasonInvalid,
        /// The sub-account is INACTIVE. Reactivate it first.
        AccountInactive,
    }

    /// Reasons why reactivateSubAccount is refused.
    pub enum ReactivateSubAccountRefusal {
        /// The team has no such sub-account.
        NotFound,
    }

    /// Reasons why deactivateSubAccount is refused.
    pub enum DeactivateSubAccountRefusal {
        /// The team has no such sub-account.
        NotFound,
        /// The reason is blank, longer than 500 characters, or contains control characters.
        ReasonInvalid,
    }
}

/// Suspends a sub-account. Its sends are refused, its keys stay valid, and its waiting messages are not sent until the
/// sub-account is reactivated. Suspending a suspended account changes nothing.
pub async fn suspend(
    app: &App,
    main: &LiveMainCaller,
    account: &AccountRef,
    reason: Option<&str>,
) -> Result<account::Model, Failure<SuspendSubAccountRefusal>> {
    use SuspendSubAccountRefusal as Refusal;
    let reason = checked_reason(reason)
        .map_err(|()| refused(Refusal::ReasonInvalid, &["input", "reason"], REASON_RULE))?;

    let txn = begin_as_main(app, main).await?;
    let found = find_sub_account(&txn, main.team_id(), account)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["account"], NOT_FOUND))?;
    let changed = match found.status {
        AccountStatus::Suspended => found.clone(),
        AccountStatus::Inactive => {
            let message = "The sub-account is inactive. Reactivate it first.";
            return Err(refused(Refusal::AccountInactive, &["account"], message));
        }
        AccountStatus::Active => {
            write_status(app, &txn, found.id, AccountStatus::Suspended, reason).await?
        }
    };
    let entry = Entry::of(AuditAction::SuspendSubAccount, changed.id).to(&changed);
    txn.commit(app, entry.changed(settings(&found), settings(&changed))).await?;
    app.events.publish([Change::of_account(&changed)]);
    Ok(changed)
}

/// Allows the account to send again. Keys that a deactivation revoked stay revoked.
pub async fn reactivate(
    app: &App,
    main: &LiveMainCaller,
    account: &AccountRef,
) -> Result<account::Model, Failure<ReactivateSubAccountRefusal>> {
    let txn = begin_as_main(app, main).await?;
    let found = find_sub_account(&txn, main.team_id(), account)
        .await?
        .ok_or_else(|| refused(ReactivateSubAccountRefusal::NotFound, &["account"], NOT_FOUND))?;
    let changed = match found.status {
        AccountStatus::Active => found.clone(),
        _ => write_status(app, &txn, found.id, AccountStatus::Active, None).await?,
    };
    let entry = Entry::of(AuditAction::ReactivateSubAccount, changed.id).to(&changed);
    txn.commit(app, entry.changed(settings(&found), settings(&changed))).await?;
    app.events.publish([Change::of_account(&changed)]);
    app.due.notify_one();
    Ok(changed)
}

/// Revokes all keys of a sub-account and keeps its data. Messages that are waiting for delivery are no longer sent; the
/// worker cancels and refunds them in batches ([`backlog`](crate::domain::message::backlog)), even if the account is
/// reactivated before all of them are canceled. Returns the account and the number of revoked keys. Deactivating an
/// inactive account changes nothing.
pub async fn deactivate(
    app: &App,
    main: &LiveMainCaller,
    account: &AccountRef,
    reason: Option<&str>,
) -> Result<(account::Model, u64), Failure<DeactivateSubAccountRefusal>> {
    use DeactivateSubAccountRefusal as Refusal;
    let reason = checked_reason(reason)
        .map_err(|()| refused(Refusal::ReasonInvalid, &["input", "reason"], REASON_RULE))?;

    let txn = begin_as_main(app, main).await?;
    let found = find_sub_account(&txn, main.team_id(), account)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["account"], NOT_FOUND))?;
    let entry = Entry::of(AuditAction::DeactivateSubAccount, found.id).to(&found);
    if found.status == AccountStatus::Inactive {
        txn.commit(app, entry).await?;
        return Ok((found, 0));
    }
    let revoked = api_key::revocation::revoke_all(app, &txn, found.id).await?;
    let to = account::ActiveModel {
        status: Set(AccountStatus::Inactive),
        status_reason: Set(reason),
        status_changed_at: Set(Some(app.clock.now())),
        cancel_until: Set(billing::newest_waiting(&txn, &found).await?),
        key_generation: Set(found.key_generation + 1),
        ..Default::default()
    };
    let changed = write(app, &txn, found.id, to).await?;
    let mut after = settings(&changed);
    after.insert("keysRevoked", json!(revoked.len()));
    txn.commit(app, entry.changed(settings(&found), after)).await?;
    app.events.publish([Change::of_account(&changed)]);
    for key in &revoked {
        app.keys.forget(key);
    }
    app.backlog.notify_one();
    Ok((changed, u64::try_from(revoked.len()).unwrap_or(u64::MAX)))
}

async fn write_status(
    app: &App,
    txn: &DatabaseTransaction,
    id: Uuid,
    status: AccountStatus,
    reason: Option<String>,
) -> Result<account::Model, DbErr> {
    let to = account::ActiveModel {
        status: Set(status),
        status_reason: Set(reason),
        status_changed_at: Set(Some(app.clock.now())),
        ..Default::default()
    };
    write(app, txn, id, to).await
}

fn checked_reason(reason: Option<&str>) -> Result<Option<String>, ()> {
    reason.map(|reason| validate::note(reason).ok_or(())).transpose()
}
