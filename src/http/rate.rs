//! How much a key and its account may ask for in a second, by what it costs: the estimated fields of the
//! answers, and afterwards the database's time beyond what the estimate covers. Each has a bucket that holds a
//! second's worth (the generic cell rate algorithm); a request that finds too little in it is refused with
//! `RATE_LIMITED` and told when to come back. Time is known only when it is spent, so it may leave a bucket in
//! debt, which is paid off before the next request passes. The headers are those of
//! draft-ietf-httpapi-ratelimit-headers.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_graphql::ServerError;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    domain::caller::Caller,
    graphql::{
        COMPLEXITY_MAX,
        errors::{self, Code},
    },
};

pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How long a statement may hold a reader for what the estimate of its request costs. By an index it takes a
/// fraction of that, also while the machine is busy.
const COVERED_TIME: Duration = Duration::from_millis(2);
/// A second of a reader's time takes a second's worth from the key's bucket, and from the account's half of
/// that: in the long run a key keeps one reader busy at most, and an account two.
const ACCOUNT_SHARE: u32 = 2;
/// The debt of a bucket at most, as the time that it takes to pay off.
const DEBT_MAX: Duration = Duration::from_secs(10);

/// The buckets of all keys and accounts.
pub struct Rates {
    key: Option<Buckets>,
    account: Option<Buckets>,
    policy: Option<HeaderValue>,
}

/// Buckets of one size.
struct Buckets {
    /// How long a bucket takes to gain one field.
    every: Duration,
    /// How long an empty bucket takes to be full.
    whole: Duration,
    /// When each bucket will be full; those that are missing are.
    full_at: Mutex<HashMap<Uuid, Instant>>,
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
    pub wait: Duration,
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
        Self { key: Buckets::new(key), account: Buckets::new(account), policy }
    }

    /// Takes what a request costs from the buckets of its caller.
    pub fn charge(&self, caller: &Caller, complexity: u64) -> Result<Left, Over> {
        let cost = u32::try_from(complexity).unwrap_or(u32::MAX).max(1);
        let take = |buckets: &Option<Buckets>, whose, id| {
            buckets.as_ref().map(|buckets| buckets.take(whose, id, cost)).transpose()
        };
        // The account's first: what is refused there costs its key nothing.
        let account = match caller.account() {
            Ok(account) => take(&self.account, Whose::Account, account.account_id)?,
            // Who runs the server has none.
            Err(_) => None,
        };
        let key = take(&self.key, Whose::Key, caller.key_id)?;
        Ok(Left { key, account })
    }

    /// Takes the time that a statement held a reader from the buckets of its caller, beyond what the estimate
    /// covers.
    pub fn charge_time(&self, caller: &Caller, held: Duration) {
        let Some(time) = held.checked_sub(COVERED_TIME).filter(|time| !time.is_zero()) else {
            return;
        };
        if let (Some(buckets), Ok(account)) = (&self.account, caller.account()) {
            buckets.owe(account.account_id, time / ACCOUNT_SHARE);
        }
        if let Some(buckets) = &self.key {
            buckets.owe(caller.key_id, time);
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

    /// Forgets the buckets that are full.
    pub fn tidy(&self) {
        for buckets in [&self.key, &self.account].into_iter().flatten() {
            buckets.tidy();
        }
    }
}

impl Buckets {
    fn new(rate: u32) -> Option<Self> {
        if rate == 0 {
            return None;
        }
        let every = (Duration::from_secs(1) / rate).max(Duration::from_nanos(1));
        let largest = u32::try_from(COMPLEXITY_MAX).expect("an answer's bound is a small number");
        Some(Self { every, whole: every * rate.max(largest), full_at: Mutex::default() })
    }

    /// Takes so many fields, if they are there: says how many are left, or when to come back.
    fn take(&self, whose: Whose, id: Uuid, cost: u32) -> Result<u32, Over> {
        let cost = (self.every.saturating_mul(cost)).min(self.whole);
        self.change(id, |now, full_at| {
            let spent = full_at + cost;
            let wait = spent.saturating_duration_since(now + self.whole);
            if !wait.is_zero() {
                return (full_at, Err(Over { whose, wait }));
            }
            let left = (now + self.whole).saturating_duration_since(spent);
            let left = left.as_nanos() / self.every.as_nanos();
            (spent, Ok(u32::try_from(left).unwrap_or(u32::MAX)))
        })
    }

    /// Takes this time's worth, also if it is not there.
    fn owe(&self, id: Uuid, time: Duration) {
        self.change(id, |now, full_at| ((full_at + time).min(now + self.whole + DEBT_MAX), ()));
    }

    /// Changes when a bucket will be full, which is not before now.
    fn change<T>(&self, id: Uuid, change: impl FnOnce(Instant, Instant) -> (Instant, T)) -> T {
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let full_at = all.entry(id).or_insert(now);
        let (changed, done) = change(now, now.max(*full_at));
        *full_at = changed;
        done
    }

    fn tidy(&self) {
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        all.retain(|_, full_at| *full_at > now);
        all.shrink_to_fit();
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
        let message = format!(
            "The {whose} asks for more than its rate limit allows; nothing was done. Wait, then try again."
        );
        errors::try_again(Code::RateLimited, message, self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const ID: Uuid = Uuid::from_u128(1);
    const FIELD: Duration = Duration::from_micros(100);

    /// Buckets of 10,000 fields a second.
    fn buckets() -> Buckets {
        Buckets::new(10_000).expect("there is a bound")
    }

    fn over(wait: Duration) -> Result<u32, Over> {
        Err(Over { whose: Whose::Key, wait })
    }

    fn take(buckets: &Buckets, fields: u32) -> Result<u32, Over> {
        buckets.take(Whose::Key, ID, fields)
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_holds_a_seconds_worth_and_gains_it_back() {
        let buckets = buckets();
        assert_eq!(take(&buckets, 6_000), Ok(4_000));
        assert_eq!(take(&buckets, 4_001), over(FIELD));
        assert_eq!(take(&buckets, 4_000), Ok(0));
        assert_eq!(take(&buckets, 10), over(FIELD * 10));
        advance(FIELD * 10).await;
        assert_eq!(take(&buckets, 10), Ok(0));
        assert_eq!(buckets.take(Whose::Key, Uuid::from_u128(2), 1), Ok(9_999));
    }

    #[tokio::test(start_paused = true)]
    async fn time_is_taken_from_what_is_there_and_then_owed() {
        let buckets = buckets();
        buckets.owe(ID, Duration::from_millis(400));
        assert_eq!(take(&buckets, 1), Ok(5_999));
        buckets.owe(ID, Duration::from_secs(3));
        let debt = Duration::from_millis(2_400) + FIELD;
        assert_eq!(take(&buckets, 1), over(debt + FIELD));
        advance(debt).await;
        assert_eq!(take(&buckets, 1), over(FIELD));
        advance(FIELD).await;
        assert_eq!(take(&buckets, 1), Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_debt_is_paid_off_in_ten_seconds_at_most() {
        let buckets = buckets();
        for _ in 0..3 {
            buckets.owe(ID, Duration::from_hours(1));
        }
        assert_eq!(take(&buckets, 1), over(DEBT_MAX + FIELD));
        buckets.tidy();
        assert_eq!(buckets.full_at.lock().expect("no panic").len(), 1);
        advance(DEBT_MAX + Duration::from_secs(1)).await;
        buckets.tidy();
        assert!(buckets.full_at.lock().expect("no panic").is_empty());
    }
}
