//! Persisted queries. An account sends the text of a query together with its hash, and can then
//! request the query by the hash alone. Each account has its own queries, so that a hash does not
//! reveal the queries of other accounts. If the total size exceeds its maximum, the team with the
//! most bytes loses its least recently used queries. A team therefore cannot displace the queries
//! of smaller teams. The accounts of one team share the team's part.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use uuid::Uuid;

use crate::domain::caller::Caller;

/// Maximum size of all persisted queries, in bytes.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Estimated number of bytes that a query needs in addition to its text.
const OVERHEAD_BYTES: usize = 128;

/// The SHA-256 of a query's text.
pub type Hash = [u8; 32];

/// The account that owns persisted queries. An operator's key is treated as an account without a
/// team.
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

/// The persisted queries of all accounts, by team.
#[derive(Clone, Default)]
pub struct PersistedQueries(Arc<Mutex<HashMap<Option<Uuid>, OfTeam>>>);

struct OfTeam {
    by_account: LruCache<(Uuid, Hash), Arc<str>>,
    bytes: usize,
}

impl Default for OfTeam {
    fn default() -> Self {
        Self { by_account: LruCache::unbounded(), bytes: 0 }
    }
}

impl PersistedQueries {
    /// Returns the text that this owner sent with the hash.
    pub fn text(&self, owner: Owner, hash: &Hash) -> Option<Arc<str>> {
        let mut teams = self.teams();
        teams.get_mut(&owner.team)?.by_account.get(&(owner.account, *hash)).cloned()
    }

    /// Stores the text of a query for its owner.
    pub fn insert(&self, owner: Owner, hash: Hash, text: &Arc<str>) {
        let mut teams = self.teams();
        let team = teams.entry(owner.team).or_default();
        if team.by_account.get(&(owner.account, hash)).is_some() {
            return;
        }
        team.by_account.put((owner.account, hash), Arc::clone(text));
        team.bytes += bytes_of(text);
        while teams.values().map(|team| team.bytes).sum::<usize>() > BYTES_MAX {
            let largest = teams.iter_mut().max_by_key(|(_, team)| team.bytes);
            let Some((&id, largest)) = largest else { return };
            match largest.by_account.pop_lru() {
                Some((_, oldest)) => largest.bytes -= bytes_of(&oldest),
                None => drop(teams.remove(&id)),
            }
        }
    }

    fn teams(&self) -> MutexGuard<'_, HashMap<Option<Uuid>, OfTeam>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn only_the_account_that_sent_a_query_finds_it() {
        let queries = PersistedQueries::default();
        queries.insert(owner(1, 1), hash(0), &Arc::from("{ a }"));
        assert_eq!(queries.text(owner(1, 1), &hash(0)).as_deref(), Some("{ a }"));
        for other in [owner(1, 2), owner(2, 1), Owner { team: None, account: Uuid::from_u128(1) }] {
            assert!(queries.text(other, &hash(0)).is_none());
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
        let mut inserted = 0;
        for account in 0..20 {
            for at in 0..200 {
                queries.insert(owner(2, account + 2), hash(at), &long);
                // Queries that are still used remain stored, as does the last one.
                assert!(queries.text(owner(2, 1), &hash(0)).is_some());
                inserted += 1;
            }
        }

        let count =
            |owner, of| (0..of).filter(|at| queries.text(owner, &hash(*at)).is_some()).count();
        assert_eq!(count(owner(1, 1), 100), 100, "another team");
        assert_eq!(count(owner(2, 1), 100), 1, "the least recently used ones are removed");
        assert_eq!(count(owner(2, 21), 200), 200, "the newest ones are kept");
        let teams = queries.teams();
        let kept = teams.values().map(|team| team.by_account.len()).sum::<usize>();
        assert!(kept < inserted);
        let counted: usize = teams.values().map(|team| team.bytes).sum();
        let texts = teams.values().flat_map(|team| &team.by_account);
        assert_eq!(texts.map(|(_, text)| bytes_of(text)).sum::<usize>(), counted);
        assert!(counted <= BYTES_MAX);
    }
}
