//! Revokes API keys: one key of a team, any key from the command line, or all keys of an account.

use entity::{
    api_key::{self, Environment},
    audit_entry::AuditAction,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, PaginatorTrait,
    QueryFilter,
};
use uuid::Uuid;

use super::{
    KEY_NOT_FOUND,
    authentication::{begin_as_main, begin_as_operator, is_usable},
    change, find_in_team, settings, usable,
};
use crate::{
    app::App,
    domain::{
        Failure, Fault,
        audit_log::Entry,
        caller::{LiveMainCaller, OperatorCaller},
        refused,
    },
};

entity::api_enum! {
    /// Reasons why revokeApiKey is refused.
    pub enum RevokeKeyRefusal as "RevokeApiKeyErrorCode" {
        /// The team has no such key.
        NotFound,
        /// The key is a LIVE key of the main account, and no other LIVE key of that account is valid
        /// for at least as long. Rotate the key instead.
        LastKey,
    }
}

/// Revokes a key of the team immediately. Revoking a revoked key changes nothing. The main account's LIVE key that
/// stays usable longest cannot be revoked, because the team could not be managed without it.
pub async fn revoke(
    app: &App,
    main: &LiveMainCaller,
    id: Option<Uuid>,
) -> Result<api_key::Model, Failure<RevokeKeyRefusal>> {
    let txn = begin_as_main(app, main).await?;
    let mut key = find_in_team(&txn, main.team_id(), id)
        .await?
        .ok_or_else(|| refused(RevokeKeyRefusal::NotFound, &["id"], KEY_NOT_FOUND))?;
    let now = app.clock.now();
    let can_manage_team = key.account_id == Some(main.account_id())
        && key.environment == Environment::Live
        && is_usable(&key, now);
    if can_manage_team {
        // A key that expires earlier, such as a key in its grace period, cannot replace the key to be revoked.
        let lasts_as_long = Condition::any()
            .add(api_key::Column::ExpiresAt.is_null())
            .add_option(key.expires_at.map(|end| api_key::Column::ExpiresAt.gte(end)));
        let others = usable(app, main.account_id())
            .filter(api_key::Column::Environment.eq(Environment::Live))
            .filter(api_key::Column::Id.ne(key.id))
            .filter(api_key::Column::GraceEndsAt.is_null())
            .filter(lasts_as_long);
        if others.count(&txn).await? == 0 {
            let message = "This is the last LIVE key of the main account. Rotate it instead.";
            return Err(refused(RevokeKeyRefusal::LastKey, &["id"], message));
        }
    }
    let before = settings(&key);
    if key.revoked_at.is_none() {
        let revoked = api_key::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() };
        change(&txn, &key, revoked).await?;
        key.revoked_at = Some(now);
    }
    let entry = Entry::of(AuditAction::RevokeApiKey, key.id).to_key(&key);
    txn.commit(app, entry.changed(before, settings(&key))).await?;
    app.keys.forget(&key);
    Ok(key)
}

/// Revokes any key immediately, from the command line; `None` if no key has this id.
pub async fn revoke_any(
    app: &App,
    operator: &OperatorCaller,
    id: Uuid,
) -> Result<Option<api_key::Model>, Fault> {
    let txn = begin_as_operator(app, operator).await?;
    let Some(mut key) = api_key::Entity::find_by_id(id).one(&txn).await? else {
        return Ok(None);
    };
    if let Some(team_id) = key.team_id {
        crate::domain::account::team_lock::lock_team(&txn, team_id).await?;
    }
    let now = app.clock.now();
    let revoked = api_key::Entity::update_many()
        .set(api_key::ActiveModel { revoked_at: Set(Some(now)), ..Default::default() })
        .filter(api_key::Column::Id.eq(id))
        .filter(api_key::Column::RevokedAt.is_null())
        .exec(&txn)
        .await?;
    let before = settings(&key);
    if revoked.rows_affected > 0 {
        key.revoked_at = Some(now);
    }
    let entry = Entry::of(AuditAction::RevokeApiKey, key.id).to_key(&key);
    txn.commit(app, entry.changed(before, settings(&key))).await?;
    app.keys.forget(&key);
    Ok(Some(key))
}

/// Revokes all keys of an account, and returns the keys that were usable. The caller holds the team's lock. At most
/// [`KEYS_PER_ACCOUNT_MAX`] rows are updated, because [`prune_and_count`] limits the number of keys that are not
/// revoked.
pub async fn revoke_all(
    app: &App,
    txn: &DatabaseTransaction,
    account_id: Uuid,
) -> Result<Vec<api_key::Model>, Fault> {
    let usable_now = usable(app, account_id).all(txn).await?;
    api_key::Entity::update_many()
        .set(api_key::ActiveModel { revoked_at: Set(Some(app.clock.now())), ..Default::default() })
        .filter(api_key::Column::AccountId.eq(account_id))
        .filter(api_key::Entity::is_not_revoked())
        .exec(txn)
        .await?;
    Ok(usable_now)
}
