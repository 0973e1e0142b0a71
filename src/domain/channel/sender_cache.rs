//! Caches the senders of accounts that have recently sent messages. So most sends need no query for the senders.

use std::{collections::HashMap, sync::Arc, time::Duration};

use entity::{phone_number, sender};
use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

use crate::{db::Readers, domain::Fault, limits::read_through_cache::ReadThroughCache};

/// Maximum time until a changed sender is used by every process.
const CACHE_TTL: Duration = Duration::from_secs(1);

const CACHED_ACCOUNTS_MAX: u64 = 10_000;

/// The cached senders by account.
pub struct Senders(ReadThroughCache<Uuid, Arc<Vec<CachedSender>>>);

/// A sender with its phone number, if the account still has that number.
#[derive(Clone, Debug)]
pub struct CachedSender {
    pub sender: sender::Model,
    pub number: Option<phone_number::Model>,
}

/// The sender of a message, and its identity on the message's channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub sender_id: Uuid,
    pub sent_from: String,
}

impl Default for Senders {
    fn default() -> Self {
        Self(ReadThroughCache::new(CACHED_ACCOUNTS_MAX, CACHE_TTL))
    }
}

impl Senders {
    /// Returns the senders of an account. If an id in `ids` is not cached, the senders are read again.
    pub async fn of_account(
        &self,
        db: &Readers,
        account_id: Uuid,
        ids: &[Uuid],
    ) -> Result<Arc<Vec<CachedSender>>, Fault> {
        let cached = self.0.get(account_id, || read(db, account_id)).await?;
        let is_cached = |id: &Uuid| cached.iter().any(|cached| cached.sender.id == *id);
        if ids.iter().all(is_cached) { Ok(cached) } else { read(db, account_id).await }
    }

    /// Removes the senders of an account from the cache after a change to one of them.
    pub fn forget(&self, account_id: Uuid) {
        self.0.forget(&account_id);
    }

    /// Removes the senders of all accounts from the cache.
    pub fn forget_all(&self) {
        self.0.forget_all();
    }
}

async fn read(db: &Readers, account_id: Uuid) -> Result<Arc<Vec<CachedSender>>, Fault> {
    let senders = sender::Entity::owned_by(account_id).all(db).await?;
    let numbers: Vec<Uuid> = senders.iter().filter_map(|sender| sender.phone_number_id).collect();
    let mut numbers = if numbers.is_empty() {
        HashMap::new()
    } else {
        let numbers = phone_number::Entity::owned_by(account_id)
            .filter(phone_number::Column::Id.is_in(numbers))
            .all(db)
            .await?;
        numbers.into_iter().map(|number| (number.id, number)).collect()
    };
    let senders = senders.into_iter().map(|sender| {
        let number = sender.phone_number_id.and_then(|id| numbers.remove(&id));
        CachedSender { sender, number }
    });
    Ok(Arc::new(senders.collect()))
}
