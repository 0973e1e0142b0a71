//! Limits the number of open subscriptions of an account, of a team and of the process.

use std::sync::Arc;

use async_graphql::ServerError;
use uuid::Uuid;

use crate::{
    domain::caller::AccountCaller,
    graphql::errors::{Code, error},
    limits::quota::{Permit, Quota},
};

/// Maximum number of subscriptions of the process. A subscription with a long document takes up to 40 KB of memory.
pub const SUBSCRIPTIONS_MAX: usize = 6_144;
/// Maximum number of subscriptions of one team.
pub const OF_TEAM_MAX: usize = SUBSCRIPTIONS_MAX / 2;
/// Maximum number of subscriptions of one account.
pub const SUBSCRIPTIONS_OF_ACCOUNT_MAX: usize = 500;

/// The open subscriptions.
pub struct Subscriptions {
    of_team: Arc<Quota<Uuid>>,
    of_account: Arc<Quota<Uuid>>,
}

/// Counts a subscription for its team and its account until it is dropped.
pub type SubscriptionPermit = (Permit<Uuid>, Permit<Uuid>);

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            of_team: Quota::new(SUBSCRIPTIONS_MAX, OF_TEAM_MAX),
            of_account: Quota::new(SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_OF_ACCOUNT_MAX),
        }
    }
}

impl Subscriptions {
    /// Takes a permit for one more subscription. Fails if a limit has been reached.
    pub fn open(&self, account: &AccountCaller) -> Result<SubscriptionPermit, ServerError> {
        self.take(account.team_id, account.account_id).ok_or_else(|| {
            let message = format!(
                "Too many open subscriptions (maximum {SUBSCRIPTIONS_OF_ACCOUNT_MAX} per account, {OF_TEAM_MAX} per \
                 team and {SUBSCRIPTIONS_MAX} per server). End one, then try again."
            );
            error(Code::RateLimited, message)
        })
    }

    fn take(&self, team_id: Uuid, account_id: Uuid) -> Option<SubscriptionPermit> {
        self.of_team.take(Some(team_id)).zip(self.of_account.take(Some(account_id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subscriptions_of_accounts_and_teams_are_limited() {
        let subscriptions = Subscriptions::default();
        let [hot, other, third] = [1, 2, 3].map(Uuid::from_u128);
        // Each account opens as many subscriptions as its limit allows.
        let open = |team: Uuid, at: usize| {
            let account = team.as_u128() * 1_000 + (at / SUBSCRIPTIONS_OF_ACCOUNT_MAX) as u128;
            subscriptions.take(team, Uuid::from_u128(account))
        };
        let fill = |team, from| {
            (from..OF_TEAM_MAX).map(move |at| open(team, at).expect("a permit")).collect::<Vec<_>>()
        };
        let of_account = |at| open(hot, at).expect("a permit");
        let first: Vec<_> = (0..SUBSCRIPTIONS_OF_ACCOUNT_MAX).map(of_account).collect();

        // A refused subscription is not counted for the team.
        assert!(open(hot, 0).is_none());
        let mut held = fill(hot, first.len());
        assert!(open(hot, OF_TEAM_MAX).is_none(), "the team's limit is reached");
        held.pop();
        held.push(open(hot, OF_TEAM_MAX - 1).expect("a permit"));
        assert!(open(hot, OF_TEAM_MAX - 1).is_none());

        drop((first, held));
        let held = [fill(hot, 0), fill(other, 0)];
        assert!(open(third, OF_TEAM_MAX * 2).is_none(), "the total limit is reached");
        drop(held);
        assert!(open(third, OF_TEAM_MAX * 2).is_some());
    }
}
