//! How many words an account writes: the texts, subjects, HTML and metadata of its messages, and what its
//! contacts and templates hold. One call has a bound, because all of it is held in memory until it is stored. An
//! account has a rate (the generic cell rate algorithm, by governor), because the number of messages says little
//! about the work: an e-mail of 200 KiB costs the database as much as a thousand SMS.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use uuid::Uuid;

use super::{Fault, bad_input, caller::AccountCaller};
use crate::App;

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

/// The rates of all accounts.
pub struct WriteRates(RateLimiter<Uuid, DefaultKeyedStateStore<Uuid>, DefaultClock>);

impl Default for WriteRates {
    fn default() -> Self {
        let rate = NonZeroU32::new(BYTES_PER_SECOND).expect("a rate");
        let burst = NonZeroU32::new(BURST_BYTES).expect("a burst");
        Self(RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst)))
    }
}

impl WriteRates {
    /// Takes so many bytes from what the account may write now, or nothing and [`Fault::WritesTooFast`].
    pub fn take(&self, account_id: Uuid, bytes: usize) -> Result<(), Fault> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(BURST_BYTES);
        let Some(bytes) = NonZeroU32::new(bytes) else { return Ok(()) };
        let taken = self.0.check_key_n(&account_id, bytes).expect("no more than a burst is taken");
        taken.map_err(|until| {
            // The limiter's own clock: making another is slow in a virtual machine.
            Fault::WritesTooFast { wait: until.wait_time_from(self.0.clock().now()) }
        })
    }

    /// Forgets the accounts that may write a whole burst.
    pub fn tidy(&self) {
        self.0.retain_recent();
        self.0.shrink_to_fit();
    }
}

/// The words of one call.
pub(super) struct CallWords {
    /// The account that writes them; `None` where nothing is stored.
    writer: Option<(Arc<WriteRates>, Uuid)>,
    bytes: usize,
    /// Of these, the bytes that the account's rate was charged with.
    charged: usize,
}

impl CallWords {
    /// Of a call that stores them.
    pub fn stored(app: &App, caller: &AccountCaller) -> Self {
        Self { writer: Some((Arc::clone(&app.writes), caller.account_id)), bytes: 0, charged: 0 }
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
        let Some((rates, account_id)) = &self.writer else { return Ok(()) };
        rates.take(*account_id, self.bytes - self.charged).map_err(|fault| match fault {
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
        let mut words = CallWords::looked_at();
        assert!(words.add(CALL_BYTES_MAX).is_ok() && words.add(0).is_ok());
        assert!(matches!(words.add(1), Err(Fault::BadInput(_))));
        assert!(matches!(words.add(usize::MAX), Err(Fault::BadInput(_))));
    }

    #[test]
    fn an_account_writes_a_burst_and_then_waits_for_as_long_as_its_rate_says() {
        let (rates, hot, other) = (WriteRates::default(), Uuid::from_u128(1), Uuid::from_u128(2));
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
        let (rates, hot) = (Arc::<WriteRates>::default(), Uuid::from_u128(1));
        let half = CALL_BYTES_MAX / 2;
        let refused = (0..100).find_map(|_| {
            let writer = Some((Arc::clone(&rates), hot));
            let mut words = CallWords { writer, bytes: half, charged: half };
            words.add(half).expect("it fits");
            while rates.take(hot, half).is_ok() {}
            words.charge().err()
        });

        let Some(Fault::WritesTooFast { wait }) = refused else { panic!("{refused:?}") };
        assert!(wait > time_of(half) && wait <= time_of(2 * half), "{wait:?}");
    }
}
