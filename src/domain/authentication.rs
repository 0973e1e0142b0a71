//! Who is let in: the caller behind a bearer key, and the note of when a key was last used.

use chrono::{DateTime, TimeDelta, Utc};
use entity::api_key;
use sea_orm::{ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::{Fault, caller::Caller, plain_key::PlainKey};
use crate::App;

/// A key's use is noted when the last note is this old.
const LAST_USED_EVERY: TimeDelta = TimeDelta::seconds(60);

/// Whether the key may be used at `now`.
pub fn is_usable(key: &api_key::Model, now: DateTime<Utc>) -> bool {
    key.revoked_at.is_none() && key.expires_at.is_none_or(|expiry| expiry > now)
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
