//! What was read of late: read once for all who ask at the same time, and never older than its time,
//! which counts from when the reading began.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use moka::future::Cache;
use tokio::time::Instant;

/// Readings that are known before those that are gone are looked for and forgotten.
const SWEEP_FROM: usize = 64;

/// Values by their key, each fresh for a time.
pub struct ReadThroughCache<K, V> {
    read: Cache<K, Arc<Read<V>>>,
    fresh_for: Duration,
    readings: Mutex<Readings<K>>,
}

/// By key, the mark of its value from the moment on at which its reading begins: so a value that is still being read
/// is forgotten as one that is kept.
struct Readings<K> {
    by_key: HashMap<K, Weak<Mark>>,
    sweep_at: usize,
}

/// When a value was forgotten, if it was.
type Mark = OnceLock<Instant>;

struct Read<V> {
    begun: Instant,
    forgotten: Arc<Mark>,
    value: V,
}

impl<K, V> ReadThroughCache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most so many values, each fresh for so long.
    pub fn new(values_max: u64, fresh_for: Duration) -> Self {
        let read = Cache::builder().max_capacity(values_max).time_to_live(fresh_for).build();
        let readings = Readings { by_key: HashMap::new(), sweep_at: SWEEP_FROM };
        Self { read, fresh_for, readings: Mutex::new(readings) }
    }

    /// The value, read by `read` if it is not fresh. Whoever asks first reads; who asks meanwhile waits
    /// for that reading, and reads again if it had begun too long ago. A failure is not remembered.
    pub async fn get<E, F>(&self, key: K, read: impl Fn() -> F) -> Result<V, Arc<E>>
    where
        K: Clone,
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let asked = Instant::now();
        let is_fresh = |found: &Arc<Read<V>>| {
            let is_known = found.forgotten.get().is_none_or(|forgotten| *forgotten > asked);
            is_known && found.begun + self.fresh_for >= asked
        };
        if let Some(found) = self.read.get(&key).await.filter(is_fresh) {
            return Ok(found.value.clone());
        }
        // Boxed, because whoever asks is copied with it: reading takes room, and mostly nothing is read.
        Box::pin(async {
            loop {
                let reading = async {
                    let forgotten = self.begin(&key);
                    let begun = Instant::now();
                    Ok(Arc::new(Read { begun, forgotten, value: read().await? }))
                };
                let found = self.read.try_get_with(key.clone(), reading).await?;
                if is_fresh(&found) {
                    return Ok(found.value.clone());
                }
                self.read.invalidate(&key).await;
            }
        })
        .await
    }

    /// Forgets the value of this key, for it has changed: a call of [`Self::get`] from now on gives what is read from
    /// now on. Values of other keys are not concerned.
    pub fn forget(&self, key: &K) {
        let mark = self.readings().by_key.remove(key);
        forget_marked(mark);
    }

    /// Forgets the values of all keys, as a test does that has changed rows past the program.
    pub fn forget_all(&self) {
        forget_marked(self.readings().by_key.drain().map(|(_, mark)| mark));
    }

    /// The mark of a reading that is about to begin: that of the key's last reading, as long as its value is kept.
    fn begin(&self, key: &K) -> Arc<Mark>
    where
        K: Clone,
    {
        let mut readings = self.readings();
        if let Some(mark) = readings.by_key.get(key).and_then(Weak::upgrade) {
            return mark;
        }
        if readings.by_key.len() >= readings.sweep_at {
            readings.by_key.retain(|_, mark| mark.strong_count() > 0);
            readings.sweep_at = SWEEP_FROM.max(readings.by_key.len() * 2);
        }
        let mark = Arc::new(Mark::new());
        readings.by_key.insert(key.clone(), Arc::downgrade(&mark));
        mark
    }

    fn readings(&self) -> MutexGuard<'_, Readings<K>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_marked(marks: impl IntoIterator<Item = Weak<Mark>>) {
    let now = Instant::now();
    for mark in marks.into_iter().filter_map(|mark| mark.upgrade()) {
        // It is forgotten once: its key has another mark from then on.
        let _ = mark.set(now);
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

    /// Counts how often it was read; the count is the value.
    async fn ask(fresh: &ReadThroughCache<u8, u32>, reads: &AtomicU32, takes: Duration) -> u32 {
        ask_for(0, fresh, reads, takes).await
    }

    async fn ask_for(
        key: u8,
        fresh: &ReadThroughCache<u8, u32>,
        reads: &AtomicU32,
        takes: Duration,
    ) -> u32 {
        let read = || async {
            let value = reads.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(takes).await;
            Ok::<_, Infallible>(value)
        };
        fresh.get(key, read).await.expect("nothing fails")
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_read_once_for_all() {
        let (fresh, reads) = (ReadThroughCache::new(1, SECOND), AtomicU32::new(0));
        let takes = Duration::from_millis(100);
        let (first, second) = tokio::join!(ask(&fresh, &reads, takes), ask(&fresh, &reads, takes));
        assert_eq!((first, second), (1, 1));
        assert_eq!(ask(&fresh, &reads, takes).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn its_time_counts_from_the_beginning_of_the_reading() {
        let (fresh, reads) = (ReadThroughCache::new(1, SECOND), AtomicU32::new(0));
        let slow = Duration::from_millis(1_500);
        let late = async {
            tokio::time::sleep(Duration::from_millis(1_200)).await;
            ask(&fresh, &reads, Duration::ZERO).await
        };
        let (first, late) = tokio::join!(ask(&fresh, &reads, slow), late);
        assert_eq!((first, late), (1, 2), "who asked late does not get what was read long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_being_read_while_it_is_forgotten_is_read_again() {
        let (fresh, reads) = (ReadThroughCache::new(1, SECOND), AtomicU32::new(0));
        let takes = Duration::from_millis(100);
        let after = async {
            tokio::time::sleep(takes / 2).await;
            fresh.forget(&0);
            ask(&fresh, &reads, takes).await
        };
        let (before, after) = tokio::join!(ask(&fresh, &reads, takes), after);
        assert_eq!((before, after), (1, 2));
        fresh.forget(&0);
        assert_eq!(ask(&fresh, &reads, takes).await, 3);
    }
    #[tokio::test(start_paused = true)]
    async fn other_values_stay_when_one_is_forgotten() {
        let (fresh, reads) = (ReadThroughCache::new(2, SECOND), AtomicU32::new(0));
        assert_eq!(ask_for(0, &fresh, &reads, Duration::ZERO).await, 1);
        assert_eq!(ask_for(1, &fresh, &reads, Duration::ZERO).await, 2);
        fresh.forget(&0);
        assert_eq!(ask_for(1, &fresh, &reads, Duration::ZERO).await, 2);
        assert_eq!(ask_for(0, &fresh, &reads, Duration::ZERO).await, 3);
        fresh.forget_all();
        assert_eq!(ask_for(1, &fresh, &reads, Duration::ZERO).await, 4);
        assert_eq!(ask_for(0, &fresh, &reads, Duration::ZERO).await, 5);
    }

    /// Keys without a value, of which anybody can ask for any number, take no room.
    #[tokio::test]
    async fn readings_that_gave_nothing_are_forgotten() {
        let fresh = ReadThroughCache::<u32, ()>::new(10, SECOND);
        for key in 0..10_000 {
            assert!(fresh.get(key, async || Err(())).await.is_err());
        }
        assert!(fresh.readings().by_key.len() <= SWEEP_FROM);
    }
}
