//! Where the next look at the lines of due messages begins, so that each team and each account has its
//! turn. It is kept in memory: to lose it lets the rotation begin anew, and nothing else.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use entity::{api_key::Environment, message::MessageStatus};
use uuid::Uuid;

/// The lines in which due messages wait.
pub const LINES: [(Environment, MessageStatus); 8] = [
    (Environment::Live, MessageStatus::Queued),
    (Environment::Live, MessageStatus::Scheduled),
    (Environment::Live, MessageStatus::Sending),
    (Environment::Live, MessageStatus::Sent),
    (Environment::Test, MessageStatus::Queued),
    (Environment::Test, MessageStatus::Scheduled),
    (Environment::Test, MessageStatus::Sending),
    (Environment::Test, MessageStatus::Sent),
];
/// Teams whose places are remembered in a line at most.
const REMEMBERED_MAX: usize = 16_384;

/// How far the turns of one line have come.
#[derive(Clone, Debug, Default)]
pub struct RotationPosition {
    team: Option<Uuid>,
    accounts: BTreeMap<Uuid, Uuid>,
}

/// The places of all lines.
#[derive(Debug, Default)]
pub struct Rotation(Mutex<[RotationPosition; LINES.len()]>);

impl Rotation {
    /// The places as they are.
    pub fn now(&self) -> [RotationPosition; LINES.len()] {
        self.held().clone()
    }

    /// Goes on from these places.
    pub fn set(&self, positions: [RotationPosition; LINES.len()]) {
        *self.held() = positions;
    }

    /// The places are whole whenever nobody holds them.
    fn held(&self) -> MutexGuard<'_, [RotationPosition; LINES.len()]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RotationPosition {
    /// The place behind this team.
    pub fn behind(team: Option<Uuid>) -> Self {
        Self { team, accounts: BTreeMap::new() }
    }

    /// The team that had the last turn.
    pub fn team(&self) -> Option<Uuid> {
        self.team
    }

    pub fn set_team(&mut self, team: Option<Uuid>) {
        self.team = team;
    }

    /// The accounts that had the last turn of their teams, of so many teams that come next.
    pub fn accounts(&self, teams: usize) -> impl Iterator<Item = (Uuid, Uuid)> {
        let begin = self.team.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.accounts.range((begin, Bound::Unbounded));
        let up_to = self.team.map(|team| self.accounts.range(..=team));
        behind
            .chain(up_to.into_iter().flatten())
            .take(teams)
            .map(|(team, account)| (*team, *account))
    }

    /// The account that had the last turn of its team; `None`: the next turn is the first one's.
    pub fn set_account(&mut self, team: Uuid, account: Option<Uuid>) {
        let Some(account) = account else {
            self.accounts.remove(&team);
            return;
        };
        if self.accounts.len() >= REMEMBERED_MAX {
            self.accounts.clear();
        }
        self.accounts.insert(team, account);
    }

    /// Forgets the accounts of other teams than these.
    pub fn keep_accounts(&mut self, is_kept: impl Fn(&Uuid) -> bool) {
        self.accounts.retain(|team, _| is_kept(team));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_in_the_order_of_turns() {
        let id = Uuid::from_u128;
        let mut position = RotationPosition::behind(Some(id(2)));
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
