//! Persisted queries: the texts that an account sent together with their hash, and may ask for by the hash alone from
//! then on. They are kept apart by account, else their hashes would tell what others ask. An account has its last
//! 1,000. All together are bounded in bytes; where there are too many, the team that takes most room loses first,
//! whoever it was that added one. So no team's queries push out those of others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

use super::document_cache::Hash;
use crate::domain::caller::Caller;

/// Queries of one account at most.
pub const OF_ACCOUNT_MAX: usize = 1_000;
/// Bytes of all texts at most.
pub const BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a query takes besides its text.
const BYTES_EACH: usize = 128;

/// Whose queries they are: those of an account of a team, or of an operator's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The queries that are known.
#[derive(Clone, Default)]
pub struct PersistedQueries(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    teams: HashMap<Option<Uuid>, Team>,
    bytes: usize,
    /// Counts what is asked, so that the query that was not asked for longest is found.
    asked: u64,
}

#[derive(Default)]
struct Team {
    accounts: HashMap<Uuid, Account>,
    bytes: usize,
}

#[derive(Default)]
struct Account {
    queries: HashMap<Hash, Query>,
    bytes: usize,
}

struct Query {
    text: Arc<str>,
    asked: u64,
}

impl PersistedQueries {
    /// The text that this owner sent with the hash.
    pub fn text(&self, owner: Owner, hash: &Hash) -> Option<Arc<str>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        let asked = state.asked;
        let account = state.teams.get_mut(&owner.team)?.accounts.get_mut(&owner.account)?;
        let query = account.queries.get_mut(hash)?;
        query.asked = asked;
        Some(Arc::clone(&query.text))
    }

    /// Keeps a text for its owner.
    pub fn keep(&self, owner: Owner, hash: Hash, text: &Arc<str>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked += 1;
        let query = Query { text: Arc::clone(text), asked: state.asked };
        let bytes = query.bytes();
        let team = state.teams.entry(owner.team).or_default();
        let account = team.accounts.entry(owner.account).or_default();
        if account.queries.contains_key(&hash) {
            return;
        }
        account.queries.insert(hash, query);
        account.bytes += bytes;
        team.bytes += bytes;
        state.bytes += bytes;
        if state.teams[&owner.team].accounts[&owner.account].queries.len() > OF_ACCOUNT_MAX {
            state.forget_oldest(owner);
        }
        while state.bytes > BYTES_MAX {
            let Some(largest) = state.largest() else { return };
            state.forget_oldest(largest);
        }
    }
}

impl State {
    /// The account with most, of the team with most.
    fn largest(&self) -> Option<Owner> {
        let (team, of_team) = self.teams.iter().max_by_key(|(_, team)| team.bytes)?;
        let (account, _) = of_team.accounts.iter().max_by_key(|(_, account)| account.bytes)?;
        Some(Owner { team: *team, account: *account })
    }

    fn forget_oldest(&mut self, owner: Owner) {
        let Some(team) = self.teams.get_mut(&owner.team) else { return };
        let Some(account) = team.accounts.get_mut(&owner.account) else { return };
        let oldest = account.queries.iter().min_by_key(|(_, query)| query.asked);
        let Some(oldest) = oldest.map(|(hash, _)| *hash) else { return };
        let bytes = account.queries.remove(&oldest).map_or(0, |query| query.bytes());
        account.bytes -= bytes;
        team.bytes -= bytes;
        self.bytes -= bytes;
        if account.queries.is_empty() {
            team.accounts.remove(&owner.account);
        }
        if team.accounts.is_empty() {
            self.teams.remove(&owner.team);
        }
    }
}

impl Query {
    fn bytes(&self) -> usize {
        BYTES_EACH + self.text.len()
    }
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
    fn an_account_has_its_last_thousand() {
        let queries = PersistedQueries::default();
        let text = Arc::from("{ a }");
        for at in 0..OF_ACCOUNT_MAX {
            queries.keep(owner(1, 1), hash(at), &text);
        }
        assert!(queries.text(owner(1, 1), &hash(0)).is_some(), "a thousand fit");
        queries.keep(owner(1, 1), hash(0), &text);
        queries.keep(owner(1, 1), hash(OF_ACCOUNT_MAX), &text);
        assert!(queries.text(owner(1, 1), &hash(1)).is_none(), "not asked for longest");
        for at in [0, 2, OF_ACCOUNT_MAX] {
            assert_eq!(queries.text(owner(1, 1), &hash(at)).as_deref(), Some("{ a }"));
        }
        for other in [owner(1, 2), owner(2, 1), Owner { team: None, account: Uuid::from_u128(1) }] {
            assert!(queries.text(other, &hash(0)).is_none(), "nobody else finds it");
        }
    }

    /// A team of many accounts with many long queries takes room from itself, and not from others.
    #[test]
    fn who_takes_most_loses_first() {
        let queries = PersistedQueries::default();
        let small = Arc::from("{ a }");
        for at in 0..100 {
            queries.keep(owner(1, 1), hash(at), &small);
            queries.keep(owner(2, 1), hash(at), &small);
        }
        let long: Arc<str> = "x".repeat(15_000).into();
        for account in 0..20 {
            for at in 0..200 {
                queries.keep(owner(2, account + 2), hash(at), &long);
            }
        }

        let kept = |owner| (0..100).filter(|at| queries.text(owner, &hash(*at)).is_some()).count();
        assert_eq!(kept(owner(1, 1)), 100, "another team");
        assert_eq!(kept(owner(2, 1)), 100, "a small account of the same team");
        let state = queries.0.lock().expect("no test panics with it");
        assert!(state.bytes <= BYTES_MAX);
        let of_teams: usize = state.teams.values().map(|team| team.bytes).sum();
        let accounts = || state.teams.values().flat_map(|team| team.accounts.values());
        let of_accounts: usize = accounts().map(|account| account.bytes).sum();
        let of_queries: usize =
            accounts().flat_map(|account| account.queries.values()).map(Query::bytes).sum();
        assert_eq!([of_teams, of_accounts, of_queries], [state.bytes; 3]);
    }
}
