//! How many subscriptions are open at once: of one account, of one team and of all.

use std::sync::Arc;

use async_graphql::ServerError;
use uuid::Uuid;

use crate::{
    domain::caller::AccountCaller,
    graphql::errors::{Code, error},
    limits::quota::{Permit, Quota},
};

/// Subscriptions of this process at most. One with a long document takes up to 40 KB.
pub const SUBSCRIPTIONS_MAX: usize = 6_144;
/// Of these, subscriptions of one team at most.
pub const OF_TEAM_MAX: usize = SUBSCRIPTIONS_MAX / 2;
/// Of these, subscriptions of one account at most.
pub const SUBSCRIPTIONS_OF_ACCOUNT_MAX: usize = 500;

/// The subscriptions that are open.
pub struct Subscriptions {
    of_team: Arc<Quota<Uuid>>,
    of_account: Arc<Quota<Uuid>>,
}

/// The place of a subscription, for as long as this is kept.
pub type Subscribed = (Permit<Uuid>, Permit<Uuid>);

impl Default for Subscriptions {
    fn default() -> Self {
        Self {
            of_team: Quota::new(SUBSCRIPTIONS_MAX, OF_TEAM_MAX),
            of_account: Quota::new(SUBSCRIPTIONS_MAX, SUBSCRIPTIONS_OF_ACCOUNT_MAX),
        }
    }
}

impl Subscriptions {
    /// The place of another subscription.
    pub fn open(&self, account: &AccountCaller) -> Result<Subscribed, ServerError> {
        self.take(account.team_id, account.account_id).ok_or_else(|| {
            let message = format!(
                "There are too many subscriptions: this server has at most {SUBSCRIPTIONS_OF_ACCOUNT_MAX} of \
                 one account, {OF_TEAM_MAX} of one team and {SUBSCRIPTIONS_MAX} in all. End one, then try again."
            );
            error(Code::RateLimited, message)
        })
    }

    fn take(&self, team_id: Uuid, account_id: Uuid) -> Option<Subscribed> {
        self.of_team.take(Some(team_id)).zip(self.of_account.take(Some(account_id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_teams_have_their_bounds() {
        let subscriptions = Subscriptions::default();
        let [hot, other, third] = [1, 2, 3].map(Uuid::from_u128);
        // Every so many have an account of their own.
        let open = |team: Uuid, at: usize| {
            let account = team.as_u128() * 1_000 + (at / SUBSCRIPTIONS_OF_ACCOUNT_MAX) as u128;
            subscriptions.take(team, Uuid::from_u128(account))
        };
        let fill = |team, from| {
            (from..OF_TEAM_MAX).map(move |at| open(team, at).expect("a place")).collect::<Vec<_>>()
        };
        let of_account = |at| open(hot, at).expect("a place");
        let first: Vec<_> = (0..SUBSCRIPTIONS_OF_ACCOUNT_MAX).map(of_account).collect();

        // An account that has too many takes nothing from its team.
        assert!(open(hot, 0).is_none());
        let mut held = fill(hot, first.len());
        assert!(open(hot, OF_TEAM_MAX).is_none(), "the team has too many");
        held.pop();
        held.push(open(hot, OF_TEAM_MAX - 1).expect("a place"));
        assert!(open(hot, OF_TEAM_MAX - 1).is_none());

        drop((first, held));
        let held = [fill(hot, 0), fill(other, 0)];
        assert!(open(third, OF_TEAM_MAX * 2).is_none(), "there are too many in all");
        drop(held);
        assert!(open(third, OF_TEAM_MAX * 2).is_some());
    }
}
