//! Who is let in: the caller behind a bearer key, whether the key still holds when a change begins,
//! and the note of when it was last used.

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

/// How long a process may go by what it knows of a key (R20): for reading only, since whatever changes
/// or charges something looks at the key again.
const KEY_CACHE_TTL: Duration = Duration::from_secs(1);
const CACHED_KEYS_MAX: u64 = 10_000;
/// A key's use is noted when the last note is this old.
const LAST_USED_INTERVAL: TimeDelta = TimeDelta::seconds(60);

/// Whether the key may be used at `now`.
pub fn is_usable(key: &api_key::Model, now: DateTime<Utc>) -> bool {
    is_valid(key.revoked_at, key.expires_at, key.grace_ends_at, now)
}

/// Whether a key with these ends may be used at `now`.
pub fn is_valid(
    revoked_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    grace_ends_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> bool {
    revoked_at.is_none() && [expires_at, grace_ends_at].into_iter().flatten().all(|end| end > now)
}

/// When the key ends by itself: at its expiry, or at the end of its grace if that is sooner.
pub fn ends_at(key: &api_key::Model) -> Option<DateTime<Utc>> {
    [key.expires_at, key.grace_ends_at].into_iter().flatten().min()
}

/// Keys that were used of late, by their hash.
pub struct Keys {
    known: ReadThroughCache<Hash, Arc<api_key::Model>>,
    lookups: KeyLookups,
}

impl Default for Keys {
    fn default() -> Self {
        let lookups = KeyLookups::default();
        Self { known: ReadThroughCache::new(CACHED_KEYS_MAX, KEY_CACHE_TTL), lookups }
    }
}

impl Keys {
    /// Forgets a key, for it has changed.
    pub fn forget(&self, key: &api_key::Model) {
        if let Ok(hash) = Hash::try_from(key.hash.as_slice()) {
            self.known.forget(&hash);
        }
    }

    /// Forgets all keys.
    pub fn forget_all(&self) {
        self.known.forget_all();
    }
}

/// The caller behind a bearer key; `None` for whatever is not a valid key. Junk never reaches the
/// database, and a key that is used much is read once a second.
pub async fn authenticate(app: &App, bearer: &str) -> Result<Option<Caller>, Fault> {
    let Some(plain_key) = PlainKey::parse(bearer) else {
        return Ok(None);
    };
    let hash = plain_key.hash();
    let key = match app.keys.known.get(hash, || find(app, hash)).await {
        Ok(key) => key,
        Err(failure) => match &*failure {
            NotFound::Unknown => return Ok(None),
            NotFound::Fault(fault) => return Err(fault.clone()),
        },
    };
    if is_usable(&key, app.clock.now()) { Caller::from_key(&key).map(Some) } else { Ok(None) }
}

/// What is not remembered: a key that does not exist, and a failure.
enum NotFound {
    Unknown,
    Fault(Fault),
}

async fn find(app: &App, hash: Hash) -> Result<Arc<api_key::Model>, NotFound> {
    let found = app.keys.lookups.find(&app.db.read, hash).await;
    let key = found.map_err(NotFound::Fault)?.ok_or(NotFound::Unknown)?;
    let now = app.clock.now();
    if is_usable(&key, now) && key.last_used_at.is_none_or(|at| now - at >= LAST_USED_INTERVAL) {
        // A full queue drops the note: it must never slow or fail a request.
        let _ = app.key_uses.try_send(key.id);
    }
    Ok(key)
}

/// Begins a change by a main account: the team is locked, and the key is looked at again under the
/// lock, so that a revoked key changes nothing from the commit of its revocation on.
pub async fn begin_as_main(app: &App, main: &LiveMainCaller) -> Result<AuditedTransaction, Fault> {
    let txn = begin_in_team(app, main.into(), main.team_id(), main.key_id()).await?;
    Ok(AuditedTransaction::new(txn, main))
}

/// Begins a change by an account that moves its money or what follows from it: locked and looked at again
/// as [`begin_as_main`].
pub async fn begin_in_team_as_account(
    app: &App,
    account: &LiveAccountCaller,
) -> Result<AuditedTransaction, Fault> {
    let txn =
        begin_in_team(app, account.account().into(), account.team_id(), account.key_id()).await?;
    Ok(AuditedTransaction::new(txn, account))
}

/// Begins a change by an account of its messages, which are not in the audit log: locked and looked at again
/// as [`begin_as_main`].
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
    still_usable(app, &txn, key_id).await?;
    Ok(txn)
}

/// Begins a change by an operator, whose key is looked at again.
pub async fn begin_as_operator(
    app: &App,
    operator: &OperatorCaller,
) -> Result<AuditedTransaction, Fault> {
    let txn = app.db.begin_write_in_slot(operator).await?;
    if let Some(key_id) = operator.key_id() {
        still_usable(app, &txn, key_id).await?;
    }
    Ok(AuditedTransaction::new(txn, operator))
}

/// Begins a change by an account of what it owns, which is no money: its key is locked instead of the
/// team, for as long as the change takes, and no send waits for it.
pub async fn begin_as_account(
    app: &App,
    account: &LiveAccountCaller,
) -> Result<AuditedTransaction, Fault> {
    let txn = app.db.begin_write_in_slot(account.account()).await?;
    hold_key(app, &txn, account).await?;
    Ok(AuditedTransaction::new(txn, account))
}

/// Holds the caller's key until the transaction ends: a revocation waits for it, and one that came
/// before is seen.
pub async fn hold_key(
    app: &App,
    txn: &DatabaseTransaction,
    account: &LiveAccountCaller,
) -> Result<(), Fault> {
    let key = api_key::Entity::find_by_id(account.key_id()).lock_shared().one(txn).await?;
    check_usable(app, key.as_ref())
}

async fn still_usable(app: &App, txn: &DatabaseTransaction, key_id: Uuid) -> Result<(), Fault> {
    let key = api_key::Entity::find_by_id(key_id).one(txn).await?;
    check_usable(app, key.as_ref())
}

fn check_usable(app: &App, key: Option<&api_key::Model>) -> Result<(), Fault> {
    let now = app.clock.now();
    if key.is_some_and(|key| is_usable(key, now)) { Ok(()) } else { Err(Fault::KeyRevoked) }
}

/// Notes that keys were used just now, unless somebody did within the last minute. A statement each,
/// so that no note holds one row while it waits for another.
pub async fn note_uses(app: &App, keys: Vec<Uuid>) -> Result<(), Fault> {
    let now = app.clock.now();
    for key in keys {
        let is_old = Condition::any()
            .add(api_key::Column::LastUsedAt.is_null())
            .add(api_key::Column::LastUsedAt.lte(now - LAST_USED_INTERVAL));
        api_key::Entity::update_many()
            .set(api_key::ActiveModel { last_used_at: Set(Some(now)), ..Default::default() })
            .filter(api_key::Column::Id.eq(key))
            .filter(is_old)
            .exec(&app.db.write)
            .await?;
    }
    Ok(())
}
