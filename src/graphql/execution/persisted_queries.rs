//! Persisted queries: texts that an account sent together with their hash, and can then request by the hash alone. Each
//! account has its own, so that hashes do not reveal the queries of others. If the total size exceeds its maximum, the
//! team with the most bytes loses its least recently used queries, so that no team displaces those of another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use uuid::Uuid;

use crate::domain::caller::Caller;

/// Maximum number of queries of an account.
pub const OF_ACCOUNT_MAX: usize = 1_000;
/// Maximum size of all queries, in bytes.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Estimated size of a query without its text, in bytes.
const OVERHEAD_BYTES: usize = 128;

/// The SHA-256 of the text of a query.
pub type Hash = [u8; 32];

/// The account whose queries they are. An operator's key counts as an account without a team.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    team: Option<Uuid>,
    account: Uuid,
}

impl From<&Caller> for Owner {
    fn from(caller: &Caller) -> Self {
        let account = caller.account().map_or(caller.key_id, |account| account.account_id);
        Self { team: caller.team_scope(), account }
    }
}

/// The persisted queries of all accounts.
#[derive(Clone, Default)]
pub struct PersistedQueries(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    accounts: HashMap<Owner, Account>,
    bytes: usize,
}

struct Account {
    queries: LruCache<Hash, Arc<str>>,
    bytes: usize,
}

impl PersistedQueries {
    /// The text that this owner sent with the hash.
    pub fn text(&self, owner: Owner, hash: &Hash) -> Option<Arc<str>> {
        self.state().accounts.get_mut(&owner)?.queries.get(hash).cloned()
    }

    /// Keeps a text for its owner.
    pub fn insert(&self, owner: Owner, hash: Hash, text: &Arc<str>) {
        let mut state = self.state();
        let account = state.accounts.entry(owner).or_default();
        if account.queries.contains(&hash) {
            return;
        }
        account.queries.put(hash, Arc::clone(text));
        account.bytes += bytes_of(text);
        let has_too_many = account.queries.len() > OF_ACCOUNT_MAX;
        state.bytes += bytes_of(text);
        if has_too_many {
            state.remove_oldest(owner);
        }
        while state.bytes > BYTES_MAX {
            let Some(largest) = state.largest_account() else { return };
            state.remove_oldest(largest);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The account with the most bytes in the team with the most bytes.
    fn largest_account(&self) -> Option<Owner> {
        let mut teams = HashMap::new();
        for (owner, account) in &self.accounts {
            *teams.entry(owner.team).or_insert(0) += account.bytes;
        }
        let (largest, _) = teams.into_iter().max_by_key(|(_, bytes)| *bytes)?;
        let accounts = self.accounts.iter().filter(|(owner, _)| owner.team == largest);
        accounts.max_by_key(|(_, account)| account.bytes).map(|(owner, _)| *owner)
    }

    /// Removes the least recently used query of an account.
    fn remove_oldest(&mut self, owner: Owner) {
        let Some(account) = self.accounts.get_mut(&owner) else { return };
        if let Some((_, text)) = account.queries.pop_lru() {
            account.bytes -= bytes_of(&text);
            self.bytes -= bytes_of(&text);
        }
        if account.queries.is_empty() {
            self.accounts.remove(&owner);
        }
    }
}

impl Default for Account {
    fn default() -> Self {
        Self { queries: LruCache::unbounded(), bytes: 0 }
    }
}

fn bytes_of(text: &str) -> usize {
    OVERHEAD_BYTES + text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(team: u128, account: u128) -> Owner {
        Owner { team: Some(Uuid::from_u128(team)), account: Uuid::from_u128(account) }
    }

    fn hash(at: usize) -> Hash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&at.to_be_bytes());
        hash
    }

    #[test]
    fn an_account_keeps_its_last_thousand_queries() {
        let queries = PersistedQueries::default();
        let text = Arc::from("{ a }");
        for at in 0..OF_ACCOUNT_MAX {
            queries.insert(owner(1, 1), hash(at), &text);
        }
        assert!(queries.text(owner(1, 1), &hash(0)).is_some(), "the maximum is kept");
        queries.insert(owner(1, 1), hash(0), &text);
        queries.insert(owner(1, 1), hash(OF_ACCOUNT_MAX), &text);
        assert!(
            queries.text(owner(1, 1), &hash(1)).is_none(),
            "the least recently used is removed"
        );
        for at in [0, 2, OF_ACCOUNT_MAX] {
            assert_eq!(queries.text(owner(1, 1), &hash(at)).as_deref(), Some("{ a }"));
        }
        for other in [owner(1, 2), owner(2, 1), Owner { team: None, account: Uuid::from_u128(1) }] {
            assert!(queries.text(other, &hash(0)).is_none(), "other accounts do not find it");
        }
    }

    #[test]
    fn a_team_over_the_limit_loses_only_its_own_queries() {
        let queries = PersistedQueries::default();
        let small = Arc::from("{ a }");
        for at in 0..100 {
            queries.insert(owner(1, 1), hash(at), &small);
            queries.insert(owner(2, 1), hash(at), &small);
        }
        let long: Arc<str> = "x".repeat(15_000).into();
        for account in 0..20 {
            for at in 0..200 {
                queries.insert(owner(2, account + 2), hash(at), &long);
            }
        }

        let count = |owner| (0..100).filter(|at| queries.text(owner, &hash(*at)).is_some()).count();
        assert_eq!(count(owner(1, 1)), 100, "another team");
        assert_eq!(count(owner(2, 1)), 100, "a small account of the same team");
        let state = queries.0.lock().expect("no test panics with it");
        assert!(state.bytes <= BYTES_MAX);
        let accounts = state.accounts.values();
        let of_accounts: usize = accounts.clone().map(|account| account.bytes).sum();
        let texts = accounts.flat_map(|account| account.queries.iter());
        let of_texts: usize = texts.map(|(_, text)| bytes_of(text)).sum();
        assert_eq!([of_accounts, of_texts], [state.bytes; 2]);
    }
}
