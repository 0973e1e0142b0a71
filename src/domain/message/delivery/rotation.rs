//! Remembers where the next poll of each queue begins, so that every team and account gets its turn. The positions are
//! kept only in memory. If they are lost, the rotation restarts, with no other effect.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use entity::{api_key::Environment, message::MessageStatus};
use uuid::Uuid;

/// The queues of due messages: one for each environment and status.
pub const QUEUES: [(Environment, MessageStatus); 8] = [
    (Environment::Live, MessageStatus::Queued),
    (Environment::Live, MessageStatus::Scheduled),
    (Environment::Live, MessageStatus::Sending),
    (Environment::Live, MessageStatus::Sent),
    (Environment::Test, MessageStatus::Queued),
    (Environment::Test, MessageStatus::Scheduled),
    (Environment::Test, MessageStatus::Sending),
    (Environment::Test, MessageStatus::Sent),
];
/// Maximum number of teams in a queue whose last account is remembered.
const TEAMS_REMEMBERED_MAX: usize = 16_384;

/// The team of a queue that had the last turn, and the account of each team that had the last turn.
#[derive(Clone, Debug, Default)]
pub struct RotationPosition {
    team: Option<Uuid>,
    accounts: BTreeMap<Uuid, Uuid>,
}

/// The rotation positions of all queues.
#[derive(Debug, Default)]
pub struct Rotation(Mutex<[RotationPosition; QUEUES.len()]>);

impl Rotation {
    pub fn get(&self) -> [RotationPosition; QUEUES.len()] {
        self.lock().clone()
    }

    pub fn set(&self, positions: [RotationPosition; QUEUES.len()]) {
        *self.lock() = positions;
    }

    /// Locks the positions. A poisoned lock is usable because the positions are only replaced as a whole.
    fn lock(&self) -> MutexGuard<'_, [RotationPosition; QUEUES.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RotationPosition {
    /// Creates the position after this team.
    pub fn after(team: Option<Uuid>) -> Self {
        Self { team, accounts: BTreeMap::new() }
    }

    /// Returns the team that had the last turn.
    pub fn team(&self) -> Option<Uuid> {
        self.team
    }

    pub fn set_team(&mut self, team: Option<Uuid>) {
        self.team = team;
    }

    /// Returns the account that had the last turn, for each of the next `teams` teams.
    pub fn accounts(&self, teams: usize) -> impl Iterator<Item = (Uuid, Uuid)> {
        let begin = self.team.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.accounts.range((begin, Bound::Unbounded));
        let up_to = self.team.map(|team| self.accounts.range(..=team));
        after
            .chain(up_to.into_iter().flatten())
            .take(teams)
            .map(|(team, account)| (*team, *account))
    }

    /// Sets the account that had the last turn of its team; `None` restarts with the team's first account.
    pub fn set_account(&mut self, team: Uuid, account: Option<Uuid>) {
        let Some(account) = account else {
            self.accounts.remove(&team);
            return;
        };
        if self.accounts.len() >= TEAMS_REMEMBERED_MAX {
            self.accounts.clear();
        }
        self.accounts.insert(team, account);
    }

    /// Forgets the accounts of the teams for which `is_kept` returns false.
    pub fn keep_accounts(&mut self, is_kept: impl Fn(&Uuid) -> bool) {
        self.accounts.retain(|team, _| is_kept(team));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_listed_in_the_order_of_turns() {
        let id = Uuid::from_u128;
        let mut position = RotationPosition::after(Some(id(2)));
        for team in 1..=4 {
            position.set_account(id(team), Some(id(team * 10)));
        }
        position.set_account(id(4), None);

        let order: Vec<_> = position.accounts(9).collect();
        assert_eq!(order, [(id(3), id(30)), (id(1), id(10)), (id(2), id(20))]);
        assert_eq!(position.accounts(2).count(), 2);
        position.set_team(None);
        assert_eq!(position.accounts(1).next(), Some((id(1), id(10))));
        position.keep_accounts(|team| *team == id(3));
        assert_eq!(position.accounts(9).count(), 1);
        position.keep_accounts(|_| false);
        assert_eq!(position.accounts(9).next(), None);
    }
}
