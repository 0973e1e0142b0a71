//! Reads that several listeners need at the same time: one of them reads, and the others share the result.

use std::{hash::Hash, sync::Arc, time::Duration};

use moka::{future::Cache, policy::EvictionPolicy};
use tokio::{sync::Mutex, time::Instant};

use crate::domain::Fault;

/// How long a value is kept after its last use. Listeners need the same value within moments.
const IDLE_TTL: Duration = Duration::from_secs(1);
/// Maximum number of values of one type. A value that was evicted too early is read again.
const VALUES_MAX: u64 = 256;

/// Values by their key, each with the time at which its read began.
pub struct SharedReads<K, V>(Cache<K, Arc<Slot<V>>>);

type Slot<V> = Mutex<Option<(Instant, V)>>;

impl<K, V> Default for SharedReads<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(VALUES_MAX)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(IDLE_TTL);
        Self(cache.build())
    }
}

impl<K, V> SharedReads<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Returns a value that was read at `since` or later. At most one read of a key runs at a time. A failed read
    /// fails only for its caller; the next caller reads again.
    pub async fn get<F>(&self, key: K, since: Instant, read: impl FnOnce() -> F) -> Result<V, Fault>
    where
        F: Future<Output = Result<V, Fault>>,
    {
        let slot = self.0.get_with(key, async { Arc::default() }).await;
        let mut last = slot.lock().await;
        if let Some((started, value)) = &*last
            && *started >= since
        {
            return Ok(value.clone());
        }
        let started = Instant::now();
        let value = read().await?;
        *last = Some((started, value.clone()));
        Ok(value)
    }

    /// Removes expired values, which an idle cache would keep.
    pub async fn remove_expired(&self) {
        self.0.run_pending_tasks().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::time::sleep;

    use super::*;

    #[derive(Default)]
    struct Reads {
        shared: SharedReads<&'static str, u32>,
        count: AtomicU32,
    }

    impl Reads {
        /// A read whose value is the number of reads so far.
        async fn get(&self, key: &'static str, since: Instant) -> u32 {
            let read = || async {
                sleep(Duration::from_millis(10)).await;
                Ok(self.count.fetch_add(1, Ordering::Relaxed) + 1)
            };
            self.shared.get(key, since, read).await.expect("nothing fails")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_read_serves_every_caller_of_its_key() {
        let (reads, since) = (Reads::default(), Instant::now());
        let found = join_all((0..500).map(|_| reads.get("a", since))).await;
        assert_eq!(found, [1; 500]);
        assert_eq!(reads.get("b", since).await, 2);
        assert_eq!(reads.get("a", since).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outdated_value_is_read_again() {
        let (reads, first) = (Reads::default(), Instant::now());
        assert_eq!(reads.get("a", first).await, 1);
        let second = Instant::now();
        assert!(second > first);
        let found = join_all([second, first, second].map(|since| reads.get("a", since))).await;
        assert_eq!(found, [2, 2, 2], "a newer value is valid for older callers too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_caller_leaves_the_read_to_the_next() {
        let (reads, since) = (Reads::default(), Instant::now());
        let dropped = tokio::time::timeout(Duration::from_millis(5), reads.get("a", since));
        let (dropped, value) = tokio::join!(dropped, reads.get("a", since));
        assert!(dropped.is_err());
        assert_eq!(value, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_cached() {
        let (reads, since) = (Reads::default(), Instant::now());
        let failed = reads.shared.get("a", since, || async { Err(Fault::TooMuchText) }).await;
        assert!(matches!(failed, Err(Fault::TooMuchText)));
        assert_eq!(reads.get("a", since).await, 1);
    }

    #[tokio::test]
    async fn values_are_removed_soon_after_their_last_use() {
        let reads = Reads::default();
        reads.get("a", Instant::now()).await;
        sleep(IDLE_TTL).await;
        reads.shared.remove_expired().await;
        assert_eq!(reads.shared.0.entry_count(), 0);
    }
}
