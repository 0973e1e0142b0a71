//! How many words an account writes: the texts, subjects, HTML and metadata of its messages, and what its
//! contacts and templates hold. One call has a bound, because all of it is held in memory until it is stored. An
//! account has a rate, and a team another (the generic cell rate algorithm, by governor), because the number of messages says little
//! about the work: an e-mail of 200 KiB costs the database as much as a thousand SMS.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use uuid::Uuid;

use super::{Fault, account::AccountIds, bad_input, caller::AccountCaller};
use crate::app::App;

/// Bytes of words that one call sends at most, whether its arguments have them or its templates give them.
pub const CALL_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of words that one account writes in a second. 10,000 SMS, or ten of the longest e-mails; about a
/// twentieth of what one SQLite file takes.
pub const BYTES_PER_SECOND: u32 = 2 * 1024 * 1024;
/// Bytes of words that an account writes at once after a rest: four of the largest calls, which fill one batch of
/// a writer.
pub const BURST_BYTES: u32 = 8 * 1024 * 1024;

const TOO_MUCH: &str =
    "One call sends at most 2 MiB of texts, subjects, HTML and metadata; send the rest in another.";

/// The accounts of a team write as much together as so many may alone, for a team has any number of them.
pub const TEAM_SHARE: u32 = 2;

type Rates = RateLimiter<Uuid, DefaultKeyedStateStore<Uuid>, DefaultClock>;

/// The rates of all accounts, and of all teams.
pub struct WriteRates {
    accounts: Rates,
    teams: Rates,
}

impl Default for WriteRates {
    fn default() -> Self {
        let rates = |accounts: u32| {
            let rate = NonZeroU32::new(BYTES_PER_SECOND * accounts).expect("a rate");
            let burst = NonZeroU32::new(BURST_BYTES * accounts).expect("a burst");
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        };
        Self { accounts: rates(1), teams: rates(TEAM_SHARE) }
    }
}

impl WriteRates {
    /// Takes so many bytes from what the account and its team may write now, or says [`Fault::WritesTooFast`].
    pub fn take(&self, writer: AccountIds, bytes: usize) -> Result<(), Fault> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(BURST_BYTES);
        let Some(bytes) = NonZeroU32::new(bytes) else { return Ok(()) };
        // The account's first: one that is over its own rate takes nothing from the others of its team.
        for (rates, id) in [(&self.accounts, writer.account_id), (&self.teams, writer.team_id)] {
            let taken = rates.check_key_n(&id, bytes).expect("no more than a burst is taken");
            taken.map_err(|until| {
                // The limiter's own clock: making another is slow in a virtual machine.
                Fault::WritesTooFast { wait: until.wait_time_from(rates.clock().now()) }
            })?;
        }
        Ok(())
    }

    /// Forgets the accounts and teams that may write a whole burst.
    pub fn remove_expired(&self) {
        for rates in [&self.accounts, &self.teams] {
            rates.retain_recent();
            rates.shrink_to_fit();
        }
    }
}

/// The words of one call.
pub(super) struct CallBytes {
    /// The account that writes them; `None` where nothing is stored.
    writer: Option<(Arc<WriteRates>, AccountIds)>,
    bytes: usize,
    /// Of these, the bytes that the account's rate was charged with.
    charged: usize,
}

impl CallBytes {
    /// Of a call that stores them.
    pub fn stored(app: &App, caller: &AccountCaller) -> Self {
        Self { writer: Some((Arc::clone(&app.writes), caller.into())), bytes: 0, charged: 0 }
    }

    /// Of a call that stores nothing.
    pub fn looked_at() -> Self {
        Self { writer: None, bytes: 0, charged: 0 }
    }

    /// Adds the words of a message, as far as the call may have so many.
    pub fn add(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > CALL_BYTES_MAX { Err(bad_input(TOO_MUCH)) } else { Ok(()) }
    }

    /// Charges the account's rate with what was added since the last time.
    pub fn charge(&mut self) -> Result<(), Fault> {
        let Some((rates, writer)) = &self.writer else { return Ok(()) };
        rates.take(*writer, self.bytes - self.charged).map_err(|fault| match fault {
            // The next try is charged with the whole call again.
            Fault::WritesTooFast { wait } => {
                Fault::WritesTooFast { wait: wait + time_of(self.charged) }
            }
            fault => fault,
        })?;
        self.charged = self.bytes;
        Ok(())
    }
}

/// How long an account takes to be allowed so many bytes.
fn time_of(bytes: usize) -> Duration {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Duration::from_secs_f64(f64::from(bytes) / f64::from(BYTES_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_two_mebibytes() {
        let mut words = CallBytes::looked_at();
        assert!(words.add(CALL_BYTES_MAX).is_ok() && words.add(0).is_ok());
        assert!(matches!(words.add(1), Err(Fault::BadInput(_))));
        assert!(matches!(words.add(usize::MAX), Err(Fault::BadInput(_))));
    }

    fn account(team: u128, account: u128) -> AccountIds {
        AccountIds { team_id: Uuid::from_u128(team), account_id: Uuid::from_u128(account) }
    }

    /// Any number of sub-accounts write no more than two accounts may.
    #[test]
    fn the_accounts_of_a_team_share_its_rate() {
        let (rates, burst) = (WriteRates::default(), usize::try_from(BURST_BYTES).expect("small"));
        for n in 1..=2 {
            rates.take(account(1, n), burst).expect("a whole burst is there");
        }
        let refused = rates.take(account(1, 3), burst);
        let Err(Fault::WritesTooFast { wait }) = refused else { panic!("it was taken") };
        assert!(wait <= Duration::from_secs(2), "{wait:?}");
        rates.take(account(2, 4), burst).expect("another team has a rate of its own");
    }

    #[test]
    fn an_account_writes_a_burst_and_then_waits_for_as_long_as_its_rate_says() {
        let (rates, hot, other) = (WriteRates::default(), account(1, 1), account(2, 2));
        let burst = usize::try_from(BURST_BYTES).expect("a small number");
        rates.take(hot, burst).expect("a whole burst is there");

        let refused = rates.take(hot, burst);
        let Err(Fault::WritesTooFast { wait }) = refused else { panic!("it was taken") };
        // Less than the whole time has to pass: some has passed since.
        assert!(wait <= time_of(burst) && time_of(burst) == Duration::from_secs(4), "{wait:?}");
        rates.take(other, burst).expect("another account has a rate of its own");
        rates.take(hot, 0).expect("nothing is always there");
    }

    /// A call whose second part is refused says when both parts can be taken.
    #[test]
    fn a_call_that_is_refused_in_part_waits_for_the_whole() {
        let (rates, hot) = (Arc::<WriteRates>::default(), account(1, 1));
        let half = CALL_BYTES_MAX / 2;
        let refused = (0..100).find_map(|_| {
            let writer = Some((Arc::clone(&rates), hot));
            let mut words = CallBytes { writer, bytes: half, charged: half };
            words.add(half).expect("it fits");
            while rates.take(hot, half).is_ok() {}
            words.charge().err()
        });

        let Some(Fault::WritesTooFast { wait }) = refused else { panic!("{refused:?}") };
        assert!(wait > time_of(half) && wait <= time_of(2 * half), "{wait:?}");
    }
}
