//! Looks API keys up by their hash. Hashes that arrive while a look-up runs are read together by the next one,
//! so that any number of unknown keys takes one connection, and no caller has to be turned away to spare the
//! database.

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

type Found = Result<Option<Arc<api_key::Model>>, Fault>;

/// Hashes that one statement looks up at most.
const BATCH_MAX: usize = 1_024;
/// How long a statement may take. The network may have lost its connection.
const DEADLINE: Duration = Duration::from_secs(5);

/// Hashes that wait to be looked up.
#[derive(Clone, Default)]
pub struct KeyLookups(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    asked: Vec<Asked>,
    is_running: bool,
}

struct Asked {
    hash: Hash,
    answer: oneshot::Sender<Found>,
}

impl KeyLookups {
    /// The key with this hash, if there is one.
    pub async fn find(&self, readers: &Readers, hash: Hash) -> Found {
        let (answer, found) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting();
            waiting.asked.push(Asked { hash, answer });
            !replace(&mut waiting.is_running, true)
        };
        if is_first {
            // A task of its own: a caller that hangs up must not take the answer from the others.
            let task = Running { lookups: self.clone(), has_ended: false };
            tokio::spawn(task.run(readers.clone()));
        }
        found.await.unwrap_or(Err(Fault::Broken("a look-up of keys broke off")))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one task that looks up, while there is something to look up.
struct Running {
    lookups: KeyLookups,
    has_ended: bool,
}

impl Running {
    async fn run(mut self, readers: Readers) {
        while let Some(batch) = self.next() {
            let hashes: Vec<Hash> = batch.iter().map(|asked| asked.hash).collect();
            let found = match timeout(DEADLINE, read(&readers, &hashes)).await {
                Ok(found) => found.map_err(Fault::from),
                Err(_) => Err(Unavailable::Silent.into()),
            };
            for Asked { hash, answer } in batch {
                let key = match &found {
                    Ok(keys) => Ok(keys.get(hash.as_slice()).map(Arc::clone)),
                    Err(fault) => Err(fault.clone()),
                };
                // A caller that has hung up does not hear of it.
                let _ = answer.send(key);
            }
        }
    }

    /// What is to be looked up next; `None` ends the task.
    fn next(&mut self) -> Option<Vec<Asked>> {
        let mut waiting = self.lookups.waiting();
        let count = waiting.asked.len().min(BATCH_MAX);
        if count == 0 {
            waiting.is_running = false;
            self.has_ended = true;
            return None;
        }
        Some(waiting.asked.drain(..count).collect())
    }
}

impl Drop for Running {
    /// A task that broke off answers nobody, and lets the next caller start another.
    fn drop(&mut self) {
        if !self.has_ended {
            let mut waiting = self.lookups.waiting();
            waiting.is_running = false;
            let unanswered = take(&mut waiting.asked);
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

/// Whether a row's hash is one of these: a single parameter, so that the statement's text is fixed.
fn is_one_of(backend: DbBackend, hashes: &[Hash]) -> SimpleExpr {
    if backend == DbBackend::Postgres {
        let hashes: Vec<Vec<u8>> = hashes.iter().map(|hash| hash.to_vec()).collect();
        return Expr::cust_with_values("hash = ANY($1)", [Value::from(hashes)]);
    }
    let hex = |hash: &Hash| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hashes: Vec<String> = hashes.iter().map(hex).collect();
    let text = "hash IN (SELECT unhex(value) FROM json_each(?))";
    Expr::cust_with_values(text, [Value::from(serde_json::json!(hashes).to_string())])
}
