//! What was read of late: read once for all who ask at the same time, and never older than its time,
//! which counts from when the reading began.

use std::{
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::future::Cache;
use tokio::time::Instant;

/// Values by their key, each fresh for a time.
pub struct Fresh<K, V> {
    read: Cache<K, Arc<Read<V>>>,
    fresh_for: Duration,
    /// Raised by [`Self::forget`]: what began to be read before is not fresh.
    generation: AtomicU64,
}

struct Read<V> {
    begun: Instant,
    generation: u64,
    value: V,
}

impl<K, V> Fresh<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most so many values, each fresh for so long.
    pub fn new(values_max: u64, fresh_for: Duration) -> Self {
        let read = Cache::builder().max_capacity(values_max).time_to_live(fresh_for).build();
        Self { read, fresh_for, generation: AtomicU64::new(0) }
    }

    /// The value, read by `read` if it is not fresh. Whoever asks first reads; who asks meanwhile waits
    /// for that reading, and reads again if it had begun too long ago. A failure is not remembered.
    pub async fn get<E, F>(&self, key: K, read: impl Fn() -> F) -> Result<V, Arc<E>>
    where
        K: Clone,
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>>,
    {
        let (asked, least) = (Instant::now(), self.generation.load(Ordering::Acquire));
        let is_fresh = |found: &Arc<Read<V>>| {
            found.generation >= least && found.begun + self.fresh_for >= asked
        };
        if let Some(found) = self.read.get(&key).await.filter(is_fresh) {
            return Ok(found.value.clone());
        }
        // Boxed, because whoever asks is copied with it: reading takes room, and mostly nothing is read.
        Box::pin(async {
            loop {
                let reading = async {
                    let generation = self.generation.load(Ordering::Acquire);
                    let begun = Instant::now();
                    Ok(Arc::new(Read { begun, generation, value: read().await? }))
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

    /// Forgets everything, for something has changed: whoever asks from now on gets what is read from
    /// now on.
    pub fn forget(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::atomic::AtomicU32};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Counts how often it was read; the count is the value.
    async fn ask(fresh: &Fresh<(), u32>, reads: &AtomicU32, takes: Duration) -> u32 {
        let read = || async {
            let value = reads.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::time::sleep(takes).await;
            Ok::<_, Infallible>(value)
        };
        fresh.get((), read).await.expect("nothing fails")
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_read_once_for_all() {
        let (fresh, reads) = (Fresh::new(1, SECOND), AtomicU32::new(0));
        let takes = Duration::from_millis(100);
        let (first, second) = tokio::join!(ask(&fresh, &reads, takes), ask(&fresh, &reads, takes));
        assert_eq!((first, second), (1, 1));
        assert_eq!(ask(&fresh, &reads, takes).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn its_time_counts_from_the_beginning_of_the_reading() {
        let (fresh, reads) = (Fresh::new(1, SECOND), AtomicU32::new(0));
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
        let (fresh, reads) = (Fresh::new(1, SECOND), AtomicU32::new(0));
        let takes = Duration::from_millis(100);
        let after = async {
            tokio::time::sleep(takes / 2).await;
            fresh.forget();
            ask(&fresh, &reads, takes).await
        };
        let (before, after) = tokio::join!(ask(&fresh, &reads, takes), after);
        assert_eq!((before, after), (1, 2));
        fresh.forget();
        assert_eq!(ask(&fresh, &reads, takes).await, 3);
    }
}
