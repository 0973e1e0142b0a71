//! A read-through cache: concurrent callers share one read, and no value is older than the cache's
//! TTL, which counts from the beginning of the read.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use moka::future::Cache;
use tokio::time::Instant;

/// Number of known reads from which those without a value are removed.
const SWEEP_FROM: usize = 64;

pub struct ReadThroughCache<K, V> {
    values: Cache<K, Arc<CachedRead<V>>>,
    ttl: Duration,
    reads: Mutex<Reads<K>>,
}

/// The invalidation of each key's value, known from the beginning of its read: a value that is still
/// being read can be invalidated too.
struct Reads<K> {
    by_key: HashMap<K, Weak<Invalidation>>,
    sweep_at: usize,
}

/// When a value was invalidated, if it was.
type Invalidation = OnceLock<Instant>;

struct CachedRead<V> {
    begun: Instant,
    invalidation: Arc<Invalidation>,
    value: V,
}

impl<K, V> ReadThroughCache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache of at most `values_max` values.
    pub fn new(values_max: u64, ttl: Duration) -> Self {
        let values = Cache::builder().max_capacity(values_max).time_to_live(ttl).build();
        let reads = Reads { by_key: HashMap::new(), sweep_at: SWEEP_FROM };
        Self { values, ttl, reads: Mutex::new(reads) }
    }

    /// The value of the key, which `read` reads if it is not cached. Concurrent callers wait for the
    /// same read; a caller for whom it began too long ago reads again. Errors are not cached.
    pub async fn get<E, F>(&self, key: K, read: impl Fn() -> F) -> Result<V, Arc<E>>
    where
        K: Clone,
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let called = Instant::now();
        let is_fresh = |found: &Arc<CachedRead<V>>| {
            let is_valid = found.invalidation.get().is_none_or(|at| *at > called);
            is_valid && found.begun + self.ttl >= called
        };
        if let Some(found) = self.values.get(&key).await.filter(is_fresh) {
            return Ok(found.value.clone());
        }
        // Boxed to keep the caller's future small: usually nothing is read.
        Box::pin(async {
            loop {
                let read = async {
                    let invalidation = self.begin(&key);
                    let begun = Instant::now();
                    Ok(Arc::new(CachedRead { begun, invalidation, value: read().await? }))
                };
                let found = self.values.try_get_with(key.clone(), read).await?;
                if is_fresh(&found) {
                    return Ok(found.value.clone());
                }
                self.values.invalidate(&key).await;
            }
        })
        .await
    }

    /// Invalidates the value of the key: later calls of [`Self::get`] return a value whose read began
    /// after this.
    pub fn forget(&self, key: &K) {
        let invalidation = self.reads().by_key.remove(key);
        invalidate(invalidation);
    }

    /// Invalidates the values of all keys, for tests that change rows with their own statements.
    pub fn forget_all(&self) {
        invalidate(self.reads().by_key.drain().map(|(_, invalidation)| invalidation));
    }

    /// The invalidation for a read that is about to begin: the one of the key's cached value, if it
    /// has one.
    fn begin(&self, key: &K) -> Arc<Invalidation>
    where
        K: Clone,
    {
        let mut reads = self.reads();
        if let Some(invalidation) = reads.by_key.get(key).and_then(Weak::upgrade) {
            return invalidation;
        }
        if reads.by_key.len() >= reads.sweep_at {
            reads.by_key.retain(|_, invalidation| invalidation.strong_count() > 0);
            reads.sweep_at = SWEEP_FROM.max(reads.by_key.len() * 2);
        }
        let invalidation = Arc::new(Invalidation::new());
        reads.by_key.insert(key.clone(), Arc::downgrade(&invalidation));
        invalidation
    }

    fn reads(&self) -> MutexGuard<'_, Reads<K>> {
        self.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalidate(invalidations: impl IntoIterator<Item = Weak<Invalidation>>) {
    let now = Instant::now();
    for invalidation in invalidations.into_iter().filter_map(|weak| weak.upgrade()) {
        // It cannot be set already: it was removed from the map, and is set only here.
        let _ = invalidation.set(now);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Gets the value of key 0. Values are the number of reads so far.
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

    #[tokio::test]
    async fn failed_reads_use_no_memory() {
        let cache = ReadThroughCache::<u32, ()>::new(10, SECOND);
        for key in 0..10_000 {
            assert!(cache.get(key, async || Err(())).await.is_err());
        }
        assert!(cache.reads().by_key.len() <= SWEEP_FROM);
    }
}
