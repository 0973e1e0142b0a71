//! Limits on the bytes of content that an account writes: text, subjects, HTML and metadata of messages, and the
//! content of contacts and templates. The size of one call is limited, because its content is kept in memory until it
//! is stored. The rates of accounts and teams are limited (with the generic cell rate algorithm of the crate governor),
//! because an e-mail of 200 KiB costs the database as much as a thousand SMS.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use uuid::Uuid;

use super::{Fault, account::AccountIds, bad_input, caller::AccountCaller};
use crate::app::App;

/// Maximum number of bytes of content in one call, from its arguments or from rendered templates.
pub const CALL_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of content that an account may write per second: 10,000 SMS, or ten of the longest e-mails. This is about a
/// twentieth of the write rate of one SQLite file.
pub const BYTES_PER_SECOND: u32 = 2 * 1024 * 1024;
/// Bytes of content that an account may write in a burst: four of the largest calls, which fill one batch of a
/// writer.
pub const BURST_BYTES: u32 = 8 * 1024 * 1024;

const CALL_TOO_LARGE: &str = "A call can send at most 2 MiB of text, subjects, HTML and metadata; \
                              split it into several calls.";

/// The rate of a team, as a multiple of the rate of one account. It does not depend on the number of accounts in the
/// team.
pub const TEAM_SHARE: u32 = 2;

type Rates = RateLimiter<Uuid, DefaultKeyedStateStore<Uuid>, DefaultClock>;

/// The rate limiters of all accounts and of all teams.
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
    /// Charges the bytes to the rates of the account and its team.
    ///
    /// # Errors
    /// [`Fault::WritesTooFast`] if one of the rates is exceeded.
    pub fn take(&self, writer: AccountIds, bytes: usize) -> Result<(), Fault> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(BURST_BYTES);
        let Some(bytes) = NonZeroU32::new(bytes) else { return Ok(()) };
        // The account's rate is checked first, so that an account that exceeds its own rate does not use up the rate of
        // its team.
        for (rates, id) in [(&self.accounts, writer.account_id), (&self.teams, writer.team_id)] {
            let taken = rates.check_key_n(&id, bytes).expect("the bytes are limited to a burst");
            taken.map_err(|until| {
                // The limiter's own clock is used: creating another one is slow in a virtual machine.
                Fault::WritesTooFast { wait: until.wait_time_from(rates.clock().now()) }
            })?;
        }
        Ok(())
    }

    /// Removes the accounts and teams that may write a whole burst again.
    pub fn remove_expired(&self) {
        for rates in [&self.accounts, &self.teams] {
            rates.retain_recent();
            rates.shrink_to_fit();
        }
    }
}

/// Counts the bytes of content of one call.
pub(super) struct CallBytes {
    /// The account that writes the bytes; `None` if nothing is stored.
    writer: Option<(Arc<WriteRates>, AccountIds)>,
    bytes: usize,
    /// The bytes that were already charged to the account's rate.
    charged: usize,
}

impl CallBytes {
    /// Creates the counter for a call that stores its content. The content is charged to the caller's rate.
    pub fn charged_to(app: &App, caller: &AccountCaller) -> Self {
        Self { writer: Some((Arc::clone(&app.writes), caller.into())), bytes: 0, charged: 0 }
    }

    /// Creates the counter for a call that stores nothing and is not charged.
    pub fn uncharged() -> Self {
        Self { writer: None, bytes: 0, charged: 0 }
    }

    /// Adds the bytes of a message's content. Fails if the call becomes too large.
    pub fn add(&mut self, bytes: usize) -> Result<(), Fault> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > CALL_BYTES_MAX { Err(bad_input(CALL_TOO_LARGE)) } else { Ok(()) }
    }

    /// Charges the bytes that were added since the last charge to the account's rate.
    pub fn charge(&mut self) -> Result<(), Fault> {
        let Some((rates, writer)) = &self.writer else { return Ok(()) };
        rates.take(*writer, self.bytes - self.charged).map_err(|fault| match fault {
            // A retry is charged for the whole call again.
            Fault::WritesTooFast { wait } => {
                Fault::WritesTooFast { wait: wait + refill_time(self.charged) }
            }
            fault => fault,
        })?;
        self.charged = self.bytes;
        Ok(())
    }
}

/// Returns the time after which an account's rate allows this number of bytes again.
fn refill_time(bytes: usize) -> Duration {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Duration::from_secs_f64(f64::from(bytes) / f64::from(BYTES_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_more_than_two_mebibytes_is_refused() {
        let mut bytes = CallBytes::uncharged();
        assert!(bytes.add(CALL_BYTES_MAX).is_ok() && bytes.add(0).is_ok());
        assert!(matches!(bytes.add(1), Err(Fault::BadInput(_))));
        assert!(matches!(bytes.add(usize::MAX), Err(Fault::BadInput(_))));
    }

    fn account(team: u128, account: u128) -> AccountIds {
        AccountIds { team_id: Uuid::from_u128(team), account_id: Uuid::from_u128(account) }
    }

    /// All accounts of a team share a rate that is twice the rate of one account.
    #[test]
    fn the_accounts_of_a_team_share_its_rate() {
        let (rates, burst) = (WriteRates::default(), usize::try_from(BURST_BYTES).expect("small"));
        for n in 1..=2 {
            rates.take(account(1, n), burst).expect("a whole burst is allowed");
        }
        let refused = rates.take(account(1, 3), burst);
        let Err(Fault::WritesTooFast { wait }) = refused else { panic!("it was allowed") };
        assert!(wait <= Duration::from_secs(2), "{wait:?}");
        rates.take(account(2, 4), burst).expect("another team has its own rate");
    }

    #[test]
    fn an_account_writes_a_burst_and_then_at_its_rate() {
        let (rates, hot, other) = (WriteRates::default(), account(1, 1), account(2, 2));
        let burst = usize::try_from(BURST_BYTES).expect("a small number");
        rates.take(hot, burst).expect("a whole burst is allowed");

        let refused = rates.take(hot, burst);
        let Err(Fault::WritesTooFast { wait }) = refused else { panic!("it was allowed") };
        // Part of the wait has already passed.
        assert!(
            wait <= refill_time(burst) && refill_time(burst) == Duration::from_secs(4),
            "{wait:?}"
        );
        rates.take(other, burst).expect("another account has its own rate");
        rates.take(hot, 0).expect("zero bytes are always allowed");
    }

    /// If the second part of a call is refused, the wait is long enough for both parts.
    #[test]
    fn a_partly_refused_call_waits_for_the_whole() {
        let (rates, hot) = (Arc::<WriteRates>::default(), account(1, 1));
        let half = CALL_BYTES_MAX / 2;
        let refused = (0..100).find_map(|_| {
            let writer = Some((Arc::clone(&rates), hot));
            let mut call = CallBytes { writer, bytes: half, charged: half };
            call.add(half).expect("it fits");
            while rates.take(hot, half).is_ok() {}
            call.charge().err()
        });

        let Some(Fault::WritesTooFast { wait }) = refused else { panic!("{refused:?}") };
        assert!(wait > refill_time(half) && wait <= refill_time(2 * half), "{wait:?}");
    }
}
