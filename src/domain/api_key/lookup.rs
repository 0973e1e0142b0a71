//! Looks up API keys by their hash. While a look-up is in progress, further hashes are collected, and the next look-up
//! reads them in a single statement. So any number of unknown keys uses only one connection. The database needs no
//! other protection from such requests.

use std::{
    collections::HashMap,
    mem::{replace, take},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use entity::api_key;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DbBackend, DbErr, EntityTrait as _, QueryFilter as _,
    Value, prelude::Expr, sea_query::SimpleExpr,
};
use tokio::{sync::oneshot, time::timeout};

use crate::{
    db::Readers,
    domain::{Fault, Unavailable},
};

/// The SHA-256 of a whole key.
pub type Hash = [u8; 32];

type LookupResult = Result<Option<Arc<api_key::Model>>, Fault>;

/// Maximum number of hashes that one statement looks up.
const BATCH_MAX: usize = 1_024;
/// Timeout of a statement. It is needed because the connection may be lost without an error.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Hashes that are waiting to be looked up.
#[derive(Clone, Default)]
pub struct KeyLookups(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    requests: Vec<LookupRequest>,
    is_running: bool,
}

struct LookupRequest {
    hash: Hash,
    reply: oneshot::Sender<LookupResult>,
}

impl KeyLookups {
    /// Finds the key with this hash, if it exists.
    pub async fn find(&self, readers: &Readers, hash: Hash) -> LookupResult {
        let (reply, result) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting();
            waiting.requests.push(LookupRequest { hash, reply });
            !replace(&mut waiting.is_running, true)
        };
        if is_first {
            // The look-up runs in a separate task, so that it continues for other callers if this call is dropped.
            let task = LookupTask { lookups: self.clone(), has_ended: false };
            tokio::spawn(task.run(readers.clone()));
        }
        result.await.unwrap_or(Err(Fault::Broken("every key look-up returns a result")))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The single look-up task, which runs while hashes are waiting.
struct LookupTask {
    lookups: KeyLookups,
    has_ended: bool,
}

impl LookupTask {
    async fn run(mut self, readers: Readers) {
        while let Some(batch) = self.next() {
            let hashes: Vec<Hash> = batch.iter().map(|request| request.hash).collect();
            let found = match timeout(QUERY_TIMEOUT, read(&readers, &hashes)).await {
                Ok(found) => found.map_err(Fault::from),
                Err(_) => Err(Unavailable::Silent.into()),
            };
            for LookupRequest { hash, reply } in batch {
                let key = match &found {
                    Ok(keys) => Ok(keys.get(hash.as_slice()).map(Arc::clone)),
                    Err(fault) => Err(fault.clone()),
                };
                // Sending fails if the call was dropped.
                let _ = reply.send(key);
            }
        }
    }

    /// Returns the next hashes to look up. If there are none, returns `None` and the task ends.
    fn next(&mut self) -> Option<Vec<LookupRequest>> {
        let mut waiting = self.lookups.waiting();
        let count = waiting.requests.len().min(BATCH_MAX);
        if count == 0 {
            waiting.is_running = false;
            self.has_ended = true;
            return None;
        }
        Some(waiting.requests.drain(..count).collect())
    }
}

impl Drop for LookupTask {
    /// If the task panics, the waiting callers get an error, and the next caller starts another task.
    fn drop(&mut self) {
        if !self.has_ended {
            let mut waiting = self.lookups.waiting();
            waiting.is_running = false;
            let unanswered = take(&mut waiting.requests);
            drop(waiting);
            drop(unanswered);
        }
    }
}

async fn read(
    readers: &Readers,
    hashes: &[Hash],
) -> Result<HashMap<Vec<u8>, Arc<api_key::Model>>, DbErr> {
    let filter = match hashes {
        [hash] => api_key::Column::Hash.eq(hash.to_vec()),
        _ => is_one_of(readers.get_database_backend(), hashes),
    };
    let keys = api_key::Entity::find().filter(filter).all(readers).await?;
    Ok(keys.into_iter().map(|key| (key.hash.clone(), Arc::new(key))).collect())
}

/// Matches rows with one of these hashes. All hashes are passed as one parameter, so the SQL text does not depend on
/// their number.
fn is_one_of(backend: DbBackend, hashes: &[Hash]) -> SimpleExpr {
    if backend == DbBackend::Postgres {
        let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.to_vec()).collect();
        return Expr::cust_with_values("hash = ANY($1)", [Value::from(hashes)]);
    }
    let hashes: Vec<String> = hashes.iter().map(hex::encode).collect();
    let text = "hash IN (SELECT unhex(value) FROM json_each(?))";
    Expr::cust_with_values(text, [Value::from(serde_json::json!(hashes).to_string())])
}
