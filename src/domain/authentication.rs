//! Who is let in: the caller behind a bearer key, whether the key still holds when a change begins,
//! and the note of when it was last used.

use chrono::{DateTime, TimeDelta, Utc};
use entity::api_key;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, QueryFilter,
};
use uuid::Uuid;

use super::{
    Fault, billing,
    caller::{Caller, LiveMainCaller, OperatorCaller},
    plain_key::PlainKey,
};
use crate::App;

/// A key's use is noted when the last note is this old.
const LAST_USED_EVERY: TimeDelta = TimeDelta::seconds(60);

/// Whether the key may be used at `now`.
pub fn is_usable(key: &api_key::Model, now: DateTime<Utc>) -> bool {
    key.revoked_at.is_none() && ends_at(key).is_none_or(|end| end > now)
}

/// When the key ends by itself: at its expiry, or at the end of its grace if that is sooner.
pub fn ends_at(key: &api_key::Model) -> Option<DateTime<Utc>> {
    [key.expires_at, key.grace_ends_at].into_iter().flatten().min()
}

/// The caller behind a bearer key; `None` for whatever is not a valid key. Junk never reaches the
/// database.
pub async fn authenticate(app: &App, bearer: &str) -> Result<Option<Caller>, Fault> {
    let Some(plain_key) = PlainKey::parse(bearer) else {
        return Ok(None);
    };
    let key = api_key::Entity::find()
        .filter(api_key::Column::Hash.eq(plain_key.hash()))
        .one(&app.db.read)
        .await?;
    let now = app.clock.now();
    let Some(key) = key.filter(|key| is_usable(key, now)) else {
        return Ok(None);
    };
    if key.last_used_at.is_none_or(|noted| now - noted >= LAST_USED_EVERY) {
        // A full queue drops the note: it must never slow or fail a request.
        let _ = app.key_uses.try_send(key.id);
    }
    Caller::from_key(&key).map(Some)
}

/// Begins a change by a main account: the team is locked, and the key is looked at again under the
/// lock, so that a revoked key changes nothing from the commit of its revocation on.
pub async fn begin_as_main(app: &App, main: &LiveMainCaller) -> Result<DatabaseTransaction, Fault> {
    let txn = app.db.begin_write().await?;
    billing::lock_team(&txn, main.team_id()).await?.ok_or(Fault::Broken("a key's team exists"))?;
    still_usable(app, &txn, main.key_id()).await?;
    Ok(txn)
}

/// Begins a change by an operator, whose key is looked at again.
pub async fn begin_as_operator(
    app: &App,
    operator: &OperatorCaller,
) -> Result<DatabaseTransaction, Fault> {
    let txn = app.db.begin_write().await?;
    if let Some(key_id) = operator.key_id() {
        still_usable(app, &txn, key_id).await?;
    }
    Ok(txn)
}

async fn still_usable(app: &App, txn: &DatabaseTransaction, key_id: Uuid) -> Result<(), Fault> {
    let key = api_key::Entity::find_by_id(key_id).one(txn).await?;
    let now = app.clock.now();
    if key.is_some_and(|key| is_usable(&key, now)) { Ok(()) } else { Err(Fault::KeyRevoked) }
}

/// Notes that keys were used just now, unless somebody did within the last minute. A statement each,
/// so that no note holds one row while it waits for another.
pub async fn note_uses(app: &App, keys: Vec<Uuid>) -> Result<(), Fault> {
    let now = app.clock.now();
    for key in keys {
        let is_old = Condition::any()
            .add(api_key::Column::LastUsedAt.is_null())
            .add(api_key::Column::LastUsedAt.lte(now - LAST_USED_EVERY));
        api_key::Entity::update_many()
            .set(api_key::ActiveModel { last_used_at: Set(Some(now)), ..Default::default() })
            .filter(api_key::Column::Id.eq(key))
            .filter(is_old)
            .exec(&app.db.write)
            .await?;
    }
    Ok(())
}
