//! The senders of accounts that sent recently, at most a second old, so that a send needs no query for them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use entity::{phone_number, sender};
use sea_orm::{ColumnTrait, QueryFilter};
use uuid::Uuid;

use crate::{db::Readers, domain::Fault, limits::read_through_cache::ReadThroughCache};

/// A changed sender counts on every process after this time at the latest.
const CACHE_TTL: Duration = Duration::from_secs(1);

const CACHED_ACCOUNTS_MAX: u64 = 10_000;

/// Senders of accounts that sent of late.
pub struct Senders(ReadThroughCache<Uuid, Arc<Vec<KnownSender>>>);

/// A sender with the phone number that it has, if its account still has that.
#[derive(Clone, Debug)]
pub struct KnownSender {
    pub sender: sender::Model,
    pub number: Option<phone_number::Model>,
}

/// As whom a message goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub sender_id: Uuid,
    /// The identity on the message's channel.
    pub sent_from: String,
}

impl Default for Senders {
    fn default() -> Self {
        Self(ReadThroughCache::new(CACHED_ACCOUNTS_MAX, CACHE_TTL))
    }
}

impl Senders {
    /// An account's senders, which hold all of these ids if the account has them.
    pub async fn of_account(
        &self,
        db: &Readers,
        account_id: Uuid,
        ids: &[Uuid],
    ) -> Result<Arc<Vec<KnownSender>>, Fault> {
        let known = self.0.get(account_id, || read(db, account_id)).await;
        let known = known.map_err(|fault| (*fault).clone())?;
        let is_known = |id: &Uuid| known.iter().any(|known| known.sender.id == *id);
        if ids.iter().all(is_known) { Ok(known) } else { read(db, account_id).await }
    }

    /// Forgets the senders of an account, for some have changed.
    pub fn forget(&self, account_id: Uuid) {
        self.0.forget(&account_id);
    }

    /// Forgets the senders of all accounts.
    pub fn forget_all(&self) {
        self.0.forget_all();
    }
}

async fn read(db: &Readers, account_id: Uuid) -> Result<Arc<Vec<KnownSender>>, Fault> {
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
    let known = senders.into_iter().map(|sender| {
        let number = sender.phone_number_id.and_then(|id| numbers.remove(&id));
        KnownSender { sender, number }
    });
    Ok(Arc::new(known.collect()))
}
