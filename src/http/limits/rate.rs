//! How much a key and its account may ask for in a second, by what it costs: the estimated fields of the
//! answers, and the bytes of requests. Each has a bucket that holds a second's worth (the generic cell rate algorithm, by governor);
//! who empties it is refused with `RATE_LIMITED` and told when to come back. The headers are those of
//! draft-ietf-httpapi-ratelimit-headers.

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

use super::time_limit::TimeLimit;
use crate::{
    domain::caller::Caller,
    graphql::{
        COMPLEXITY_MAX,
        errors::{self, Code},
    },
};

pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The part of all processors that a key, and an account, may use without interruption for what is not free.
pub const KEY_PROCESSORS: f64 = 1.0 / 8.0;
/// The same for an account.
pub const ACCOUNT_PROCESSORS: f64 = 1.0 / 4.0;

/// Connections for reading that a key, and an account, may hold without interruption.
pub const KEY_READS: u32 = 1;
/// The same for an account.
pub const ACCOUNT_READS: u32 = 2;

/// Bytes of a request that its smallest cost covers. Nearly no request has more.
pub const BYTES_COVERED: usize = 4 * 1024;
/// Bytes beyond these that cost as much as a field of an answer: to parse them takes about as long.
pub const BYTES_OF_FIELD: usize = 128;

/// What a request costs for its bytes. It is charged before they are parsed, so that a request that is refused
/// afterwards has paid for its parsing.
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
    of: RateLimiter<Uuid, DefaultKeyedStateStore<Uuid>, DefaultClock, StateInformationMiddleware>,
    burst: NonZeroU32,
    reading: TimeLimit,
    processing: TimeLimit,
}

/// What is left after a request was charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    key: Option<u32>,
    account: Option<u32>,
}

/// A request that asked for more than is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    whose: Whose,
    what: Limited,
    pub wait: Duration,
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limited {
    /// Estimated fields of answers, and bytes of requests.
    Requests,
    /// Time for which connections to the database were held for reading.
    Reading,
    ProcessorTime,
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Key,
    Account,
}

impl Rates {
    /// So much a second for each key and each account; 0: no bound. One answer always fits.
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

    /// Takes what a request costs from the buckets of its caller.
    pub fn charge(&self, caller: &Caller, complexity: u64) -> Result<Left, Over> {
        let cost = u32::try_from(complexity).ok().and_then(NonZeroU32::new);
        let cost = cost.unwrap_or(NonZeroU32::MIN);
        // An operator has no account.
        let account_id = caller.account().ok().map(|account| account.account_id);
        self.charge_ids(caller.key_id, account_id, cost)
    }

    /// A key beyond its limit takes nothing from its account, which other keys use too. So the key is charged first,
    /// and it alone has paid if the account then refuses: a bucket cannot be given anything back.
    fn charge_ids(
        &self,
        key_id: Uuid,
        account_id: Option<Uuid>,
        cost: NonZeroU32,
    ) -> Result<Left, Over> {
        let key = self.key.as_ref().map(|buckets| (buckets, Whose::Key, key_id));
        let account = self.account.as_ref().zip(account_id);
        let account = account.map(|(buckets, id)| (buckets, Whose::Account, id));
        for (buckets, whose, id) in [key, account].into_iter().flatten() {
            buckets.check_times(whose, id)?;
        }
        let take = |(buckets, whose, id): (&Buckets, _, _)| buckets.take(whose, id, cost);
        Ok(Left { key: key.map(take).transpose()?, account: account.map(take).transpose()? })
    }

    /// The same for a part of what a request costs. `left` is what its answer says of the limits.
    pub fn pay(
        &self,
        caller: &Caller,
        cost: u64,
        left: &mut Option<Left>,
    ) -> Result<(), ServerError> {
        if cost == 0 {
            return Ok(());
        }
        let charged = self.charge(caller, cost);
        *left = Some(charged.unwrap_or_else(|over| over.left()));
        charged.map(drop).map_err(|over| over.error())
    }

    /// Notes how long a statement of the caller held a connection to the database.
    pub fn note_reading(&self, caller: &Caller, held: Duration) {
        if let (Some(buckets), Ok(account)) = (&self.account, caller.account()) {
            buckets.reading.note(account.account_id, held);
        }
        if let Some(buckets) = &self.key {
            buckets.reading.note(caller.key_id, held);
        }
    }

    /// Notes how long a part of a request of the caller kept a processor busy.
    pub fn note_processing(&self, caller: &Caller, used: Duration) {
        if let (Some(buckets), Ok(account)) = (&self.account, caller.account()) {
            buckets.processing.note(account.account_id, used);
        }
        if let Some(buckets) = &self.key {
            buckets.processing.note(caller.key_id, used);
        }
    }

    /// Says in the headers what is allowed and what is left.
    pub fn write(&self, left: Left, headers: &mut HeaderMap) {
        let Some(policy) = &self.policy else { return };
        headers.insert(RATE_LIMIT_POLICY, policy.clone());
        let left = [("key", left.key), ("account", left.account)]
            .into_iter()
            .filter_map(|(name, left)| Some(format!("\"{name}\";r={};t=1", left?)))
            .collect::<Vec<_>>()
            .join(", ");
        if !left.is_empty() {
            headers.insert(RATE_LIMIT, HeaderValue::from_str(&left).expect("names and numbers"));
        }
    }

    /// Forgets whoever has a full bucket.
    pub fn remove_expired(&self) {
        for buckets in [&self.key, &self.account].into_iter().flatten() {
            buckets.of.retain_recent();
            buckets.of.shrink_to_fit();
            buckets.reading.remove_expired();
            buckets.processing.remove_expired();
        }
    }
}

impl Buckets {
    fn new(rate: u32, connections: u32, part: f64) -> Option<Self> {
        let rate = NonZeroU32::new(rate)?;
        let largest = u32::try_from(COMPLEXITY_MAX).expect("an answer's bound is a small number");
        let burst = rate.max(NonZeroU32::new(largest)?);
        Some(Self::holding(rate, burst, connections, part))
    }

    fn holding(rate: NonZeroU32, burst: NonZeroU32, connections: u32, part: f64) -> Self {
        let of = RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst));
        let processors = available_parallelism().map_or(1, NonZero::get);
        let processors = f64::from(u32::try_from(processors).unwrap_or(1));
        Self {
            of: of.with_middleware(),
            burst,
            reading: TimeLimit::of_reading(connections),
            processing: TimeLimit::of_processing(part * processors),
        }
    }

    fn check_times(&self, whose: Whose, id: Uuid) -> Result<(), Over> {
        let reading = (self.reading.wait(id), Limited::Reading);
        let processing = (self.processing.wait(id), Limited::ProcessorTime);
        let (wait, what) = if reading.0 >= processing.0 { reading } else { processing };
        if wait.is_zero() { Ok(()) } else { Err(Over { whose, what, wait }) }
    }

    fn take(&self, whose: Whose, id: Uuid, cost: NonZeroU32) -> Result<u32, Over> {
        let taken = self.of.check_key_n(&id, cost.min(self.burst));
        let taken = taken.expect("a bucket holds what is taken at once");
        taken.map(|left| left.remaining_burst_capacity()).map_err(|until| {
            // Its own clock: to make one asks the processor what it is, which takes long in a virtual machine.
            let now = self.of.clock().now();
            Over { whose, what: Limited::Requests, wait: until.wait_time_from(now) }
        })
    }
}

impl Over {
    /// Of what was asked too much, nothing is left.
    pub fn left(&self) -> Left {
        match self.whose {
            Whose::Key => Left { key: Some(0), account: None },
            Whose::Account => Left { key: None, account: Some(0) },
        }
    }

    /// Whole seconds until it is worth another try.
    pub fn seconds(&self) -> u64 {
        self.wait.as_secs() + 1
    }

    pub fn error(&self) -> ServerError {
        let whose = match self.whose {
            Whose::Key => "key",
            Whose::Account => "account",
        };
        let what = match self.what {
            Limited::Requests => "rate limit",
            Limited::Reading => "limit of database time",
            Limited::ProcessorTime => "limit of processor time",
        };
        let message =
            format!("The {whose} has used its {what}; nothing was done. Wait, then try again.");
        errors::try_again(Code::RateLimited, message, self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key whose own bucket is empty leaves its account's to the others; an account whose bucket is empty charges
    /// the key that asks.
    #[test]
    fn a_key_beyond_its_limit_takes_nothing_from_its_account() {
        let number = |number| NonZeroU32::new(number).expect("not zero");
        // One comes back in a second.
        let of = |burst| Some(Buckets::holding(number(1), number(burst), 1, 1.0));
        let rates = Rates { key: of(5_000), account: of(20_000), policy: None };
        let [account, hot, other] = [1, 2, 3].map(Uuid::from_u128);
        let charge = |key, cost| rates.charge_ids(key, Some(account), number(cost));

        assert!(charge(hot, 5_000).is_ok());
        for _ in 0..10 {
            let over = charge(hot, 5_000).expect_err("the key's bucket is empty");
            assert_eq!(over.whose, Whose::Key);
        }
        for key in [other, Uuid::from_u128(4), Uuid::from_u128(5)] {
            assert!(charge(key, 5_000).is_ok(), "the account had 15,000 left");
        }
        let over = charge(Uuid::from_u128(6), 4_000).expect_err("the account's bucket is empty");
        assert_eq!(over.whose, Whose::Account);
        let over = charge(Uuid::from_u128(6), 4_000).expect_err("the key has paid");
        assert_eq!(over.whose, Whose::Key);

        // Reading time is looked at before anything is taken.
        let rates = Rates { key: of(5_000), account: of(20_000), policy: None };
        let buckets = rates.account.as_ref().expect("there are some");
        for _ in 0..30 {
            buckets.reading.note(account, Duration::from_mins(1));
        }
        let over = rates.charge_ids(hot, Some(account), number(5_000));
        assert_eq!(over.expect_err("it reads too much").whose, Whose::Account);
        assert!(rates.charge_ids(hot, None, number(5_000)).is_ok(), "its bucket is full");

        // So is processor time.
        let rates = Rates { key: of(5_000), account: of(20_000), policy: None };
        let buckets = rates.key.as_ref().expect("there are some");
        buckets.processing.note(hot, Duration::from_hours(1));
        let over =
            rates.charge_ids(hot, Some(account), number(1)).expect_err("it computes too much");
        assert_eq!((over.whose, over.what), (Whose::Key, Limited::ProcessorTime));
        // The longer wait is told.
        let long = over.wait;
        buckets.reading.note(hot, Duration::from_millis(10_500));
        let over = rates.charge_ids(hot, Some(account), number(1)).expect_err("it reads too much");
        assert_eq!((over.what, over.wait <= long), (Limited::ProcessorTime, true));
        assert!(rates.charge_ids(other, Some(account), number(20_000 / 4)).is_ok());
    }

    #[test]
    fn bytes_cost_from_4_kib_on() {
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
