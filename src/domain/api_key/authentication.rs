//! Authenticates callers by API key, checks that a key is still usable when a change begins, and records when keys were
//! last used.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use entity::api_key;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter,
    QuerySelect,
};
use uuid::Uuid;

use super::{
    lookup::{Hash, KeyLookups},
    plain_key::PlainKey,
};
use crate::{
    app::App,
    db::{Scope, WriteTransaction},
    domain::{
        Fault,
        audit_log::transaction::AuditedTransaction,
        caller::{AccountCaller, Caller, LiveAccountCaller, LiveMainCaller, OperatorCaller},
    },
    limits::read_through_cache::ReadThroughCache,
};

/// How long a key is cached. Only reads rely on the cache: every change and every charge reads the key again.
const KEY_CACHE_TTL: Duration = Duration::from_secs(1);
const CACHED_KEYS_MAX: u64 = 10_000;
/// Minimum time between two records of a key's last use.
const LAST_USED_INTERVAL: TimeDelta = TimeDelta::seconds(60);

/// Returns whether the key is usable at `now`.
pub fn is_usable(key: &api_key::Model, now: DateTime<Utc>) -> bool {
    is_valid(key.revoked_at, key.expires_at, key.grace_ends_at, now)
}

/// Returns whether a key with these times is usable at `now`.
pub fn is_valid(
    revoked_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    grace_ends_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> bool {
    revoked_at.is_none() && [expires_at, grace_ends_at].into_iter().flatten().all(|end| end > now)
}

/// Returns when the key expires: at its expiry, or at the end of its grace period if that is earlier.
pub fn ends_at(key: &api_key::Model) -> Option<DateTime<Utc>> {
    [key.expires_at, key.grace_ends_at].into_iter().flatten().min()
}

/// Cache of recently used keys by their hash.
pub struct Keys {
    cache: ReadThroughCache<Hash, Arc<api_key::Model>>,
    lookups: KeyLookups,
}

impl Default for Keys {
    fn default() -> Self {
        let lookups = KeyLookups::default();
        Self { cache: ReadThroughCache::new(CACHED_KEYS_MAX, KEY_CACHE_TTL), lookups }
    }
}

impl Keys {
    /// Removes a changed key from the cache.
    pub fn forget(&self, key: &api_key::Model) {
        if let Ok(hash) = Hash::try_from(key.hash.as_slice()) {
            self.cache.forget(&hash);
        }
    }

    /// Removes all keys from the cache.
    pub fn forget_all(&self) {
        self.cache.forget_all();
    }
}

/// Authenticates a bearer token; `None` if the token is not a usable key. A malformed token causes no query, and a
/// frequently used key is read only once per second.
pub async fn authenticate(app: &App, bearer: &str) -> Result<Option<Caller>, Fault> {
    let Some(plain_key) = PlainKey::parse(bearer) else {
        return Ok(None);
    };
    let hash = plain_key.hash();
    let key = match app.keys.cache.get(hash, || find(app, hash)).await {
        Ok(key) => key,
        Err(NotFound::Unknown) => return Ok(None),
        Err(NotFound::Fault(fault)) => return Err(fault),
    };
    if is_usable(&key, app.clock.now()) { Caller::from_key(&key).map(Some) } else { Ok(None) }
}

/// The results that are not cached: the key is unknown, or the query failed.
#[derive(Clone)]
enum NotFound {
    Unknown,
    Fault(Fault),
}

async fn find(app: &App, hash: Hash) -> Result<Arc<api_key::Model>, NotFound> {
    let found = app.keys.lookups.find(&app.db.read, hash).await;
    let key = found.map_err(NotFound::Fault)?.ok_or(NotFound::Unknown)?;
    let now = app.clock.now();
    if is_usable(&key, now) && key.last_used_at.is_none_or(|at| now - at >= LAST_USED_INTERVAL) {
        // If the queue is full, the use is not recorded, because recording must never delay a request or make it fail.
        let _ = app.key_uses.try_send(key.id);
    }
    Ok(key)
}

/// Begins a transaction for a change by a main account. Locks the team and reads the key again under the lock. So a
/// revoked key cannot change anything after its revocation is committed.
pub async fn begin_as_main(app: &App, main: &LiveMainCaller) -> Result<AuditedTransaction, Fault> {
    let txn = begin_in_team(app, main.into(), main.team_id(), main.key_id()).await?;
    Ok(AuditedTransaction::new(txn, main))
}

/// Begins a transaction for a change by an account that affects its team's money. Locks the team and checks the key as
/// [`begin_as_main`] does.
pub async fn begin_in_team_as_account(
    app: &App,
    account: &LiveAccountCaller,
) -> Result<AuditedTransaction, Fault> {
    let txn =
        begin_in_team(app, account.account().into(), account.team_id(), account.key_id()).await?;
    Ok(AuditedTransaction::new(txn, account))
}

/// Begins a transaction for a change by an account to its messages. Such changes are not recorded in the audit log.
/// Locks the team and checks the key as [`begin_as_main`] does.
pub async fn begin_for_messages(
    app: &App,
    account: &AccountCaller,
) -> Result<WriteTransaction, Fault> {
    begin_in_team(app, account.into(), account.team_id, account.key_id).await
}

async fn begin_in_team(
    app: &App,
    scope: Scope,
    team_id: Uuid,
    key_id: Uuid,
) -> Result<WriteTransaction, Fault> {
    let txn = app.db.begin_write_in_slot(scope).await?;
    crate::domain::account::team_lock::lock_team(&txn, team_id)
        .await?
        .ok_or(Fault::Broken("a key's team exists"))?;
    check_key(app, &txn, key_id).await?;
    Ok(txn)
}

/// Begins a transaction for a change by an operator. Reads the operator's key again.
pub async fn begin_as_operator(
    app: &App,
    operator: &OperatorCaller,
) -> Result<AuditedTransaction, Fault> {
    let txn = app.db.begin_write_in_slot(operator).await?;
    if let Some(key_id) = operator.key_id() {
        check_key(app, &txn, key_id).await?;
    }
    Ok(AuditedTransaction::new(txn, operator))
}

/// Begins a transaction for a change by an account that does not affect money. Locks the key instead of the team, so
/// that no send has to wait for the change.
pub async fn begin_as_account(
    app: &App,
    account: &LiveAccountCaller,
) -> Result<AuditedTransaction, Fault> {
    let txn = app.db.begin_write_in_slot(account.account()).await?;
    hold_key(app, &txn, account).await?;
    Ok(AuditedTransaction::new(txn, account))
}

/// Locks the caller's key until the transaction ends, and fails if the key is no longer usable. A later revocation
/// waits for the lock.
pub async fn hold_key(
    app: &App,
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
) -> Result<(), Fault> {
    let key = api_key::Entity::find_by_id(account.key_id()).lock_shared().one(txn).await?;
    check_usable(app, key.as_ref())
}

async fn check_key(app: &App, txn: &DatabaseTransaction, key_id: Uuid) -> Result<(), Fault> {
    let key = api_key::Entity::find_by_id(key_id).one(txn).await?;
    check_usable(app, key.as_ref())
}

fn check_usable(app: &App, key: Option<&api_key::Model>) -> Result<(), Fault> {
    let now = app.clock.now();
    if key.is_some_and(|key| is_usable(key, now)) { Ok(()) } else { Err(Fault::KeyRevoked) }
}

/// Records that keys were used now, unless a use was recorded within [`LAST_USED_INTERVAL`]. Each key is updated by its
/// own statement, so that no statement waits for one row while it has another row locked.
pub async fn note_uses(app: &App, keys: Vec<Uuid>) -> Result<(), Fault> {
    let now = app.clock.now();
    for key in keys {
        let is_outdated = Condition::any()
            .add(api_key::Column::LastUsedAt.is_null())
            .add(api_key::Column::LastUsedAt.lte(now - LAST_USED_INTERVAL));
        api_key::Entity::update_many()
            .set(api_key::ActiveModel { last_used_at: Set(Some(now)), ..Default::default() })
            .filter(api_key::Column::Id.eq(key))
            .filter(is_outdated)
            .exec(&app.db.write)
            .await?;
    }
    Ok(())
}
