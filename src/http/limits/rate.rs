//! Limits the rate of requests of each key and each account by their cost. The cost consists of the estimated response
//! fields and the request bytes. Each key and each account has a bucket that contains the cost of one second (the
//! generic cell rate algorithm, implemented by governor). A request that costs more than its bucket contains is refused
//! with `RATE_LIMITED` and the time to wait. The headers are those of draft-ietf-httpapi-ratelimit-headers.

use std::{
    num::{NonZero, NonZeroU32},
    thread::available_parallelism,
    time::Duration,
};

use async_graphql::ServerError;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use uuid::Uuid;

use super::time_rate::TimeLimit;
use crate::{
    domain::caller::Caller,
    graphql::{
        COMPLEXITY_MAX,
        errors::{self, Code},
    },
};

pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Fraction of all processors that a key or an account may use continuously, in addition to the free time of each
/// request.
pub const KEY_PROCESSORS: f64 = 1.0 / 8.0;
pub const ACCOUNT_PROCESSORS: f64 = 1.0 / 4.0;

/// Number of read connections that a key or an account may use continuously.
pub const KEY_READS: u32 = 1;
pub const ACCOUNT_READS: u32 = 2;

/// Number of request bytes that the minimum cost of a request covers. Nearly all requests are smaller than this.
pub const BYTES_COVERED: usize = 4 * 1024;
/// Number of further bytes that cost as much as one response field. Parsing these bytes takes about as long as
/// producing one field.
pub const BYTES_OF_FIELD: usize = 128;

/// Returns the cost of a request's bytes. The cost is charged before the request is parsed, so that a request that is
/// refused later has also paid for its parsing.
pub fn cost_of_bytes(bytes: usize) -> u64 {
    bytes.saturating_sub(BYTES_COVERED).div_ceil(BYTES_OF_FIELD) as u64
}

/// The buckets of all keys and accounts.
pub struct Rates {
    key: Option<Buckets>,
    account: Option<Buckets>,
    policy: Option<HeaderValue>,
}

struct Buckets {
    limiter:
        RateLimiter<Uuid, DefaultKeyedStateStore<Uuid>, DefaultClock, StateInformationMiddleware>,
    burst: NonZeroU32,
    reading: TimeLimit,
    processing: TimeLimit,
}

/// The amounts that remain in the buckets after a request was charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remaining {
    key: Option<u32>,
    account: Option<u32>,
}

/// A limit that a request exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitExceeded {
    owner: LimitOwner,
    kind: LimitKind,
    /// Time after which a retry can succeed.
    pub wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LimitKind {
    /// Estimated response fields and request bytes.
    Requests,
    /// Time for which the caller's statements used read connections to the database.
    Reading,
    ProcessorTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LimitOwner {
    Key,
    Account,
}

impl Rates {
    /// Creates the buckets. `key` and `account` are the limits per second for each key and each account; 0 means no
    /// limit. Every bucket can contain at least the maximum cost of one response.
    pub fn new(key: u32, account: u32) -> Self {
        let policies: Vec<String> = [("key", key), ("account", account)]
            .into_iter()
            .filter(|(_, rate)| *rate > 0)
            .map(|(name, rate)| format!("\"{name}\";q={rate};w=1"))
            .collect();
        let policy = (!policies.is_empty())
            .then(|| HeaderValue::from_str(&policies.join(", ")).expect("names and numbers"));
        Self {
            key: Buckets::new(key, KEY_READS, KEY_PROCESSORS),
            account: Buckets::new(account, ACCOUNT_READS, ACCOUNT_PROCESSORS),
            policy,
        }
    }

    /// Takes the cost of a request from the buckets of its caller.
    pub fn charge(&self, caller: &Caller, cost: u64) -> Result<Remaining, LimitExceeded> {
        let cost = u32::try_from(cost).ok().and_then(NonZeroU32::new);
        let cost = cost.unwrap_or(NonZeroU32::MIN);
        // An operator has no account.
        let account_id = caller.account().ok().map(|account| account.account_id);
        self.charge_ids(caller.key_id, account_id, cost)
    }

    /// Charges the key first. A request that exceeds the key's limit therefore takes nothing from the account, which
    /// other keys share. If the account's limit is exceeded, the key stays charged, because a bucket cannot be
    /// refunded.
    fn charge_ids(
        &self,
        key_id: Uuid,
        account_id: Option<Uuid>,
        cost: NonZeroU32,
    ) -> Result<Remaining, LimitExceeded> {
        let key = self.key.as_ref().map(|buckets| (buckets, LimitOwner::Key, key_id));
        let account = self.account.as_ref().zip(account_id);
        let account = account.map(|(buckets, id)| (buckets, LimitOwner::Account, id));
        for (buckets, owner, id) in [key, account].into_iter().flatten() {
            buckets.check_times(owner, id)?;
        }
        let take = |(buckets, owner, id): (&Buckets, _, _)| buckets.take(owner, id, cost);
        Ok(Remaining { key: key.map(take).transpose()?, account: account.map(take).transpose()? })
    }

    /// Charges a part of the cost of a request, and stores the remaining amounts for the response headers.
    pub fn charge_into(
        &self,
        caller: &Caller,
        cost: u64,
        remaining: &mut Option<Remaining>,
    ) -> Result<(), ServerError> {
        if cost == 0 {
            return Ok(());
        }
        let charged = self.charge(caller, cost);
        *remaining = Some(charged.unwrap_or_else(|exceeded| exceeded.remaining()));
        charged.map(drop).map_err(|exceeded| exceeded.error())
    }

    /// Charges the caller for the time for which one of the caller's statements used a read connection.
    pub fn note_reading(&self, caller: &Caller, held: Duration) {
        if let (Some(buckets), Ok(account)) = (&self.account, caller.account()) {
            buckets.reading.note(account.account_id, held);
        }
        if let Some(buckets) = &self.key {
            buckets.reading.note(caller.key_id, held);
        }
    }

    /// Charges the caller for the processor time of a part of a request.
    pub fn note_processing(&self, caller: &Caller, used: Duration) {
        if let (Some(buckets), Ok(account)) = (&self.account, caller.account()) {
            buckets.processing.note(account.account_id, used);
        }
        if let Some(buckets) = &self.key {
            buckets.processing.note(caller.key_id, used);
        }
    }

    /// Adds the headers `RateLimit-Policy` and `RateLimit`.
    pub fn write_headers(&self, remaining: Remaining, headers: &mut HeaderMap) {
        let Some(policy) = &self.policy else { return };
        headers.insert(RATE_LIMIT_POLICY, policy.clone());
        let remaining = [("key", remaining.key), ("account", remaining.account)]
            .into_iter()
            .filter_map(|(name, remaining)| Some(format!("\"{name}\";r={};t=1", remaining?)))
            .collect::<Vec<_>>()
            .join(", ");
        if !remaining.is_empty() {
            let value = HeaderValue::from_str(&remaining).expect("names and numbers");
            headers.insert(RATE_LIMIT, value);
        }
    }

    /// Removes the buckets that are full.
    pub fn remove_expired(&self) {
        for buckets in [&self.key, &self.account].into_iter().flatten() {
            buckets.limiter.retain_recent();
            buckets.limiter.shrink_to_fit();
            buckets.reading.remove_expired();
            buckets.processing.remove_expired();
        }
    }
}

impl Buckets {
    fn new(rate: u32, connections: u32, part: f64) -> Option<Self> {
        let rate = NonZeroU32::new(rate)?;
        let largest = u32::try_from(COMPLEXITY_MAX).expect("the limit is a small number");
        let burst = rate.max(NonZeroU32::new(largest)?);
        Some(Self::holding(rate, burst, connections, part))
    }

    fn holding(rate: NonZeroU32, burst: NonZeroU32, connections: u32, part: f64) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst));
        let processors = available_parallelism().map_or(1, NonZero::get);
        let processors = f64::from(u32::try_from(processors).unwrap_or(1));
        Self {
            limiter: limiter.with_middleware(),
            burst,
            reading: TimeLimit::of_reading(connections),
            processing: TimeLimit::of_processing(part * processors),
        }
    }

    fn check_times(&self, owner: LimitOwner, id: Uuid) -> Result<(), LimitExceeded> {
        let reading = (self.reading.wait(id), LimitKind::Reading);
        let processing = (self.processing.wait(id), LimitKind::ProcessorTime);
        let (wait, kind) = if reading.0 >= processing.0 { reading } else { processing };
        if wait.is_zero() { Ok(()) } else { Err(LimitExceeded { owner, kind, wait }) }
    }

    fn take(&self, owner: LimitOwner, id: Uuid, cost: NonZeroU32) -> Result<u32, LimitExceeded> {
        let taken = self.limiter.check_key_n(&id, cost.min(self.burst));
        let taken = taken.expect("the cost is at most the burst");
        taken.map(|state| state.remaining_burst_capacity()).map_err(|until| {
            // The limiter's own clock is used because creating a clock is slow in a virtual machine.
            let now = self.limiter.clock().now();
            LimitExceeded { owner, kind: LimitKind::Requests, wait: until.wait_time_from(now) }
        })
    }
}

impl LimitExceeded {
    /// Returns the remaining amounts after the limit was exceeded. The exceeded bucket has 0 left.
    pub fn remaining(&self) -> Remaining {
        match self.owner {
            LimitOwner::Key => Remaining { key: Some(0), account: None },
            LimitOwner::Account => Remaining { key: None, account: Some(0) },
        }
    }

    pub fn error(&self) -> ServerError {
        let owner = match self.owner {
            LimitOwner::Key => "key",
            LimitOwner::Account => "account",
        };
        let limit = match self.kind {
            LimitKind::Requests => "rate limit",
            LimitKind::Reading => "database time limit",
            LimitKind::ProcessorTime => "processor time limit",
        };
        let message =
            format!("The {owner}'s {limit} is exceeded; nothing was done. Wait, then try again.");
        errors::try_again(Code::RateLimited, message, self.wait.as_secs() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that exceeds the account's limit is charged to the key, but not to the account.
    #[test]
    fn a_key_beyond_its_limit_takes_nothing_from_its_account() {
        let number = |number| NonZeroU32::new(number).expect("not zero");
        // Each bucket refills by 1 per second.
        let with_burst = |burst| Some(Buckets::holding(number(1), number(burst), 1, 1.0));
        let rates = Rates { key: with_burst(5_000), account: with_burst(20_000), policy: None };
        let [account, hot, other] = [1, 2, 3].map(Uuid::from_u128);
        let charge = |key, cost| rates.charge_ids(key, Some(account), number(cost));

        assert!(charge(hot, 5_000).is_ok());
        for _ in 0..10 {
            let exceeded = charge(hot, 5_000).expect_err("the key's bucket is empty");
            assert_eq!(exceeded.owner, LimitOwner::Key);
        }
        for key in [other, Uuid::from_u128(4), Uuid::from_u128(5)] {
            assert!(charge(key, 5_000).is_ok(), "the account had 15,000 left");
        }
        let exceeded =
            charge(Uuid::from_u128(6), 4_000).expect_err("the account's bucket is empty");
        assert_eq!(exceeded.owner, LimitOwner::Account);
        let exceeded = charge(Uuid::from_u128(6), 4_000).expect_err("the key was charged");
        assert_eq!(exceeded.owner, LimitOwner::Key);

        // Database time is checked before anything is taken from a bucket.
        let rates = Rates { key: with_burst(5_000), account: with_burst(20_000), policy: None };
        let buckets = rates.account.as_ref().expect("a limit is set");
        for _ in 0..30 {
            buckets.reading.note(account, Duration::from_mins(1));
        }
        let exceeded = rates.charge_ids(hot, Some(account), number(5_000));
        assert_eq!(exceeded.expect_err("too much database time").owner, LimitOwner::Account);
        assert!(rates.charge_ids(hot, None, number(5_000)).is_ok(), "its bucket is full");

        // Processor time is also checked before anything is taken from a bucket.
        let rates = Rates { key: with_burst(5_000), account: with_burst(20_000), policy: None };
        let buckets = rates.key.as_ref().expect("a limit is set");
        buckets.processing.note(hot, Duration::from_hours(1));
        let exceeded =
            rates.charge_ids(hot, Some(account), number(1)).expect_err("too much processor time");
        assert_eq!((exceeded.owner, exceeded.kind), (LimitOwner::Key, LimitKind::ProcessorTime));
        // The error reports the longer wait.
        let long = exceeded.wait;
        buckets.reading.note(hot, Duration::from_millis(10_500));
        let exceeded =
            rates.charge_ids(hot, Some(account), number(1)).expect_err("too much database time");
        assert_eq!((exceeded.kind, exceeded.wait <= long), (LimitKind::ProcessorTime, true));
        assert!(rates.charge_ids(other, Some(account), number(20_000 / 4)).is_ok());
    }

    #[test]
    fn the_first_4_kib_of_a_request_are_free() {
        for (bytes, cost) in [
            (0, 0),
            (BYTES_COVERED, 0),
            (BYTES_COVERED + 1, 1),
            (BYTES_COVERED + BYTES_OF_FIELD, 1),
            (BYTES_COVERED + BYTES_OF_FIELD + 1, 2),
            // A hundred messages of 150 bytes each, and the largest body.
            (15_000, 86),
            (256 * 1024, 2_016),
        ] {
            assert_eq!(cost_of_bytes(bytes), cost, "{bytes} bytes");
        }
    }
}
