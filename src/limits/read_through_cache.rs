//! A read-through cache. Concurrent callers share one read, and no value is older than the cache's TTL. The age of a
//! value is counted from the beginning of its read.

use std::{
    future::ready,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{Entry, future::Cache, ops::compute::Op, policy::EvictionPolicy, sync};
use tokio::time::Instant;

pub struct ReadThroughCache<K, V> {
    values: Cache<K, Arc<CachedRead<V>>>,
    ttl: Duration,
    /// The number of the last invalidation of a key. It is kept until all values that were read before the invalidation
    /// have expired. A value that is still being read can also be invalidated.
    forgotten: sync::Cache<K, u64>,
    /// The last number that was assigned. Reads and invalidations are numbered in their order, from 1.
    last_number: AtomicU64,
}

struct CachedRead<V> {
    begun: Instant,
    number: u64,
    value: V,
}

impl<K, V> ReadThroughCache<K, V>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Creates a cache of up to `values_max` values.
    pub fn new(values_max: u64, ttl: Duration) -> Self {
        Self::with_eviction(values_max, ttl, EvictionPolicy::tiny_lfu())
    }

    /// Creates a cache of up to `values_max` values that keeps the newest ones. It is for values that are only needed
    /// for a short time.
    pub fn of_newest(values_max: u64, ttl: Duration) -> Self {
        Self::with_eviction(values_max, ttl, EvictionPolicy::lru())
    }

    fn with_eviction(values_max: u64, ttl: Duration, policy: EvictionPolicy) -> Self {
        let values = Cache::builder().max_capacity(values_max).time_to_live(ttl);
        let values = values.eviction_policy(policy).build();
        let forgotten = sync::Cache::builder().time_to_live(2 * ttl).build();
        Self { values, ttl, forgotten, last_number: AtomicU64::new(0) }
    }

    /// Returns the value for the key. If the value is not cached or is older than the TTL, it is read with `read`.
    pub async fn get<E, F>(&self, key: K, read: impl Fn() -> F) -> Result<V, E>
    where
        E: Clone + Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        self.get_since(key, Instant::now() - self.ttl, read).await
    }

    /// Returns a value for the key whose read began at `since` or later. Concurrent callers wait for the same read. If
    /// that read began before a caller's `since`, the caller starts another read. Errors are not cached.
    pub async fn get_since<E, F>(
        &self,
        key: K,
        since: Instant,
        read: impl Fn() -> F,
    ) -> Result<V, E>
    where
        E: Clone + Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let forgotten = self.forgotten.get(&key).unwrap_or_default();
        let is_fresh =
            |found: &Arc<CachedRead<V>>| found.number > forgotten && found.begun >= since;
        if let Some(found) = self.values.get(&key).await.filter(is_fresh) {
            return Ok(found.value.clone());
        }
        // The future is boxed to keep the caller's future small, because usually nothing is read.
        Box::pin(async {
            loop {
                let read = async {
                    let (number, begun) = (self.next_number(), Instant::now());
                    Ok(Arc::new(CachedRead { begun, number, value: read().await? }))
                };
                let found = self.values.try_get_with(key.clone(), read).await;
                let found = found.map_err(|error: Arc<E>| E::clone(&error))?;
                if is_fresh(&found) {
                    return Ok(found.value.clone());
                }
                // Another caller may have replaced the value in the meantime, so the value is checked again before it
                // is removed.
                let remove_old = |entry: Option<Entry<_, _>>| {
                    let is_old = entry.is_some_and(|entry| !is_fresh(entry.value()));
                    ready(if is_old { Op::Remove } else { Op::Nop })
                };
                self.values.entry_by_ref(&key).and_compute_with(remove_old).await;
            }
        })
        .await
    }

    /// Removes values that are older than the TTL. Without this, a cache that is not used would keep them.
    pub async fn remove_expired(&self) {
        self.values.run_pending_tasks().await;
    }

    /// Invalidates the value for the key. Later calls of [`Self::get`] return a value whose read began after the
    /// invalidation.
    pub fn forget(&self, key: &K) {
        // The number is taken under the key's lock, so that a smaller number never replaces a greater one.
        self.forgotten.entry_by_ref(key).and_upsert_with(|_| self.next_number());
    }

    /// Invalidates the values of all keys. Used by tests that change rows with their own statements.
    pub fn forget_all(&self) {
        self.values.invalidate_all();
    }

    fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicU32, Ordering},
    };

    use futures_util::future::join_all;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns the value for key 0. The value is the number of reads so far.
    async fn get(cache: &ReadThroughCache<u8, u32>, reads: &AtomicU32, takes: Duration) -> u32 {
        get_key(0, cache, reads, takes).await
    }

    async fn get_key(
        key: u8,
        cache: &ReadThroughCache<u8, u32>,
        reads: &AtomicU32,
        takes: Duration,
    ) -> u32 {
        let read = || async {
            let value = reads.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(takes).await;
            Ok::<_, Infallible>(value)
        };
        cache.get(key, read).await.expect("no read fails")
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_one_read() {
        let (cache, reads) = (ReadThroughCache::new(1, SECOND), AtomicU32::new(0));
        let takes = Duration::from_millis(100);
        let (first, second) = tokio::join!(get(&cache, &reads, takes), get(&cache, &reads, takes));
        assert_eq!((first, second), (1, 1));
        assert_eq!(get(&cache, &reads, takes).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_ttl_counts_from_the_beginning_of_the_read() {
        let (cache, reads) = (ReadThroughCache::new(1, SECOND), AtomicU32::new(0));
        let slow = Duration::from_millis(1_500);
        let late = async {
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            get(&cache, &reads, Duration::ZERO).await
        };
        let (first, late) = tokio::join!(get(&cache, &reads, slow), late);
        assert_eq!(
            (first, late),
            (1, 2),
            "the late caller gets a value that is not older than the TTL"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_is_invalidated_while_it_is_read_is_read_again() {
        let (cache, reads) = (ReadThroughCache::new(1, SECOND), AtomicU32::new(0));
        let takes = Duration::from_millis(100);
        let after = async {
            tokio::time::sleep(takes / 2).await;
            cache.forget(&0);
            get(&cache, &reads, takes).await
        };
        let (before, after) = tokio::join!(get(&cache, &reads, takes), after);
        assert_eq!((before, after), (1, 2));
        cache.forget(&0);
        assert_eq!(get(&cache, &reads, takes).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn invalidating_one_key_keeps_the_others() {
        let (cache, reads) = (ReadThroughCache::new(2, SECOND), AtomicU32::new(0));
        assert_eq!(get_key(0, &cache, &reads, Duration::ZERO).await, 1);
        assert_eq!(get_key(1, &cache, &reads, Duration::ZERO).await, 2);
        cache.forget(&0);
        assert_eq!(get_key(1, &cache, &reads, Duration::ZERO).await, 2);
        assert_eq!(get_key(0, &cache, &reads, Duration::ZERO).await, 3);
        cache.forget_all();
        assert_eq!(get_key(1, &cache, &reads, Duration::ZERO).await, 4);
        assert_eq!(get_key(0, &cache, &reads, Duration::ZERO).await, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_whose_read_began_too_early_is_read_again() {
        let (cache, reads) = (ReadThroughCache::new(1, SECOND), AtomicU32::new(0));
        let read = || async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, Infallible>(reads.fetch_add(1, Ordering::Relaxed) + 1)
        };
        let first = Instant::now();
        assert_eq!(cache.get_since(0, first, read).await, Ok(1));
        let second = Instant::now();
        assert!(second > first);
        let found = join_all((0..500).map(|_| cache.get_since(0, second, read))).await;
        assert_eq!(found, [Ok(2); 500]);
        assert_eq!(cache.get_since(0, first, read).await, Ok(2), "a newer value is valid too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_caller_leaves_the_read_to_the_next() {
        let (cache, reads) = (ReadThroughCache::new(1, SECOND), AtomicU32::new(0));
        let takes = Duration::from_millis(10);
        let dropped = tokio::time::timeout(takes / 2, get(&cache, &reads, takes));
        let (dropped, value) = tokio::join!(dropped, get(&cache, &reads, takes));
        assert!(dropped.is_err());
        assert_eq!(value, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_not_cached() {
        let cache = ReadThroughCache::new(1, SECOND);
        assert_eq!(cache.get(0, async || Err("failed")).await, Err("failed"));
        assert_eq!(cache.get(0, async || Ok::<_, &str>(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn expired_values_are_removed_on_request() {
        let ttl = Duration::from_millis(100);
        let (cache, reads) = (ReadThroughCache::new(1, ttl), AtomicU32::new(0));
        get(&cache, &reads, Duration::ZERO).await;
        tokio::time::sleep(ttl).await;
        cache.remove_expired().await;
        assert_eq!(cache.values.entry_count(), 0);
    }
}
