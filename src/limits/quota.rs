//! A counting semaphore that never waits. It has a total limit and a limit for each holder.

use std::{
    collections::HashMap,
    hash::Hash,
    mem::take,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Units with a total limit and a limit for each holder.
pub struct Quota<H> {
    max: usize,
    of_one_max: usize,
    held: Mutex<Held<H>>,
}

struct Held<H> {
    count: usize,
    of: HashMap<H, usize>,
}

/// The units that one holder has. They are released when this value is dropped.
pub struct Permit<H: Copy + Eq + Hash> {
    holder: Option<H>,
    count: usize,
    quota: Arc<Quota<H>>,
}

impl<H: Copy + Eq + Hash> Quota<H> {
    pub fn new(max: usize, of_one_max: usize) -> Arc<Self> {
        let held = Mutex::new(Held { count: 0, of: HashMap::new() });
        Arc::new(Self { max, of_one_max, held })
    }

    /// Takes one unit. Returns `None` if a limit has been reached.
    pub fn take(self: &Arc<Self>, holder: Option<H>) -> Option<Permit<H>> {
        let mut permit = self.empty(holder);
        permit.grow(1).then_some(permit)
    }

    /// Creates a permit without units. If it has no holder, only the total limit applies to it.
    pub fn empty(self: &Arc<Self>, holder: Option<H>) -> Permit<H> {
        Permit { holder, count: 0, quota: Arc::clone(self) }
    }

    /// Returns the number of units that all holders have.
    pub fn count(&self) -> usize {
        self.held().count
    }

    /// Returns the number of units that one holder has.
    pub fn count_of(&self, holder: H) -> usize {
        self.held().of.get(&holder).copied().unwrap_or_default()
    }

    /// Returns the maximum number of units that one holder may have.
    pub fn of_one_max(&self) -> usize {
        self.of_one_max
    }

    /// Locks the counts. A panic cannot leave them inconsistent, so a poisoned lock is still usable.
    fn held(&self) -> MutexGuard<'_, Held<H>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Copy + Eq + Hash> Permit<H> {
    pub fn count(&self) -> usize {
        self.count
    }

    /// Moves all units to a new permit.
    #[must_use]
    pub fn moved(&mut self) -> Self {
        let count = take(&mut self.count);
        Self { holder: self.holder, count, quota: Arc::clone(&self.quota) }
    }

    /// Takes `more` units and returns true. If a limit would be exceeded, takes none and returns false.
    pub fn grow(&mut self, more: usize) -> bool {
        if more == 0 {
            return true;
        }
        let mut held = self.quota.held();
        let of_holder = self.holder.and_then(|holder| held.of.get(&holder).copied());
        let of_holder = of_holder.unwrap_or_default();
        let is_too_much = held.count + more > self.quota.max
            || (self.holder.is_some() && of_holder + more > self.quota.of_one_max);
        if is_too_much {
            return false;
        }
        held.count += more;
        if let Some(holder) = self.holder {
            held.of.insert(holder, of_holder + more);
        }
        drop(held);
        self.count += more;
        true
    }

    /// Releases `less` units, or all units if the permit has fewer.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.count);
        if less == 0 {
            return;
        }
        self.count -= less;
        let mut held = self.quota.held();
        held.count -= less;
        let Some(holder) = self.holder else { return };
        let Some(of_holder) = held.of.get_mut(&holder) else { return };
        *of_holder -= less;
        if *of_holder == 0 {
            held.of.remove(&holder);
        }
    }
}

impl<H: Copy + Eq + Hash> Drop for Permit<H> {
    fn drop(&mut self) {
        self.shrink(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_per_holder_and_the_total_limit_hold() {
        let quota = Quota::new(5, 3);
        let mut held: Vec<_> =
            (0..3).map(|_| quota.take(Some("busy")).expect("a permit")).collect();

        assert!(quota.take(Some("busy")).is_none());
        held.push(quota.take(Some("other")).expect("a permit"));
        held.push(quota.take(None).expect("a permit"));
        assert!(quota.take(Some("third")).is_none() && quota.take(None).is_none());
        assert_eq!(["busy", "other", "third"].map(|holder| quota.count_of(holder)), [3, 1, 0]);
        drop(held.remove(0));
        let again = quota.take(Some("busy"));
        assert!(again.is_some() && quota.take(Some("third")).is_none());
        let mut again = again.expect("a permit");
        assert!(!again.grow(1));
        held.pop();
        held.pop();
        assert!(!again.grow(2) && again.grow(0) && again.count() == 1);
        held.remove(0);
        assert!(again.grow(1) && again.count() == 2);
        let before = quota.count();
        again.shrink(1);
        assert_eq!((again.count(), quota.count()), (1, before - 1));
        drop((held, again));
        let held = quota.held();
        assert!(held.count == 0 && held.of.is_empty());
    }
}
