//! Monitors keys that are used for longer than one request, for example by a WebSocket. Each process reads its
//! monitored keys once per second. If a key is no longer usable or its account is no longer ACTIVE, the monitor cancels
//! the key's cancellation token.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use entity::{
    account::{self, AccountStatus},
    api_key,
};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::authentication::is_usable;
use crate::{
    app::App,
    db::has_id,
    domain::{Fault, caller::Caller},
};

const POLL_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The monitored keys, each with its cancellation token.
#[derive(Default)]
pub struct KeyRevocationMonitor(Mutex<HashMap<Uuid, Weak<CancellationToken>>>);

impl KeyRevocationMonitor {
    fn keys(&self) -> Vec<Uuid> {
        let mut keys = self.0.lock().expect("no panic while the lock is held");
        keys.retain(|_, token| token.strong_count() > 0);
        keys.keys().copied().collect()
    }

    fn end(&self, key_id: Uuid) {
        let mut keys = self.0.lock().expect("no panic while the lock is held");
        if let Some(token) = keys.remove(&key_id).and_then(|token| token.upgrade()) {
            token.cancel();
        }
    }
}

/// Monitors the caller's key until the returned token is dropped. The token is canceled when the key is no longer
/// usable. Returns `None` if the key is already unusable.
pub async fn watch(app: &App, caller: &Caller) -> Result<Option<Arc<CancellationToken>>, Fault> {
    let token = {
        let mut keys = app.key_monitor.0.lock().expect("no panic while the lock is held");
        let existing = keys.get(&caller.key_id).and_then(Weak::upgrade);
        let token = existing.unwrap_or_default();
        keys.insert(caller.key_id, Arc::downgrade(&token));
        token
    };
    // The key is read only after it was added to the monitor. Otherwise a revocation between the two steps could be
    // missed.
    Ok(usable(app, &[caller.key_id]).await?.contains(&caller.key_id).then_some(token))
}

/// Polls the monitored keys forever.
pub async fn run(app: &App) {
    loop {
        sleep(POLL_INTERVAL).await;
        let keys = app.key_monitor.keys();
        if keys.is_empty() {
            continue;
        }
        match timeout(PROBE_TIMEOUT, usable(app, &keys)).await {
            Ok(Ok(usable)) => {
                keys.iter()
                    .filter(|key| !usable.contains(key))
                    .for_each(|key| app.key_monitor.end(*key));
            }
            Ok(Err(fault)) => {
                tracing::warn!(%fault, "Could not check whether API keys in use were revoked; retrying");
            }
            Err(_) => {
                tracing::warn!(
                    "Could not check whether API keys in use were revoked: the database does not \
                                respond; retrying"
                );
            }
        }
    }
}

/// Returns those of the keys that are usable now and whose account is ACTIVE.
async fn usable(app: &App, keys: &[Uuid]) -> Result<HashSet<Uuid>, Fault> {
    let now = app.clock.now();
    let backend = app.db.backend();
    let keys = api_key::Entity::find()
        .filter(has_id(backend, keys.iter().copied()))
        .all(&app.db.read)
        .await?;
    let accounts = keys.iter().filter_map(|key| key.account_id);
    let active: Vec<Uuid> = account::Entity::find()
        .select_only()
        .column(account::Column::Id)
        .filter(has_id(backend, accounts))
        .filter(account::Column::Status.eq(AccountStatus::Active))
        .into_tuple()
        .all(&app.db.read)
        .await?;
    let active: HashSet<Uuid> = active.into_iter().collect();
    let usable = keys.into_iter().filter(|key| {
        is_usable(key, now) && key.account_id.is_none_or(|account| active.contains(&account))
    });
    Ok(usable.map(|key| key.id).collect())
}
