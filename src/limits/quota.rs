//! Shares of what there is only so much of: so many in all, and so many of one holder.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is to be had, and who holds how much of it.
pub struct Shares<H> {
    max: usize,
    of_one_max: usize,
    held: Mutex<Held<H>>,
}

struct Held<H> {
    count: usize,
    of: HashMap<H, usize>,
}

/// What somebody holds, while this is kept.
pub struct Share<H: Copy + Eq + Hash> {
    holder: Option<H>,
    count: usize,
    shares: Arc<Shares<H>>,
}

impl<H: Copy + Eq + Hash> Shares<H> {
    pub fn new(max: usize, of_one_max: usize) -> Arc<Self> {
        let held = Mutex::new(Held { count: 0, of: HashMap::new() });
        Arc::new(Self { max, of_one_max, held })
    }

    /// One for this holder; without a holder it counts among all only. `None` if there are too many.
    pub fn take(self: &Arc<Self>, holder: Option<H>) -> Option<Share<H>> {
        let mut share = Share { holder, count: 0, shares: Arc::clone(self) };
        share.grow(1).then_some(share)
    }

    /// How much is held by all together.
    pub fn count(&self) -> usize {
        self.held().count
    }

    /// How much one holder has.
    pub fn count_of(&self, holder: H) -> usize {
        self.held().of.get(&holder).copied().unwrap_or_default()
    }

    /// How much one holder may have.
    pub fn of_one_max(&self) -> usize {
        self.of_one_max
    }

    /// The counts are whole whenever nobody holds them.
    fn held(&self) -> MutexGuard<'_, Held<H>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Copy + Eq + Hash> Share<H> {
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes so many more, or none if there are too few.
    pub fn grow(&mut self, more: usize) -> bool {
        let mut held = self.shares.held();
        let of_holder = self.holder.and_then(|holder| held.of.get(&holder).copied());
        let of_holder = of_holder.unwrap_or_default();
        let is_too_much = held.count + more > self.shares.max
            || (self.holder.is_some() && of_holder + more > self.shares.of_one_max);
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
}

impl<H: Copy + Eq + Hash> Share<H> {
    /// Gives so many back, or all if there are fewer.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.count);
        self.count -= less;
        let mut held = self.shares.held();
        held.count -= less;
        let Some(holder) = self.holder else { return };
        let Some(of_holder) = held.of.get_mut(&holder) else { return };
        *of_holder -= less;
        if *of_holder == 0 {
            held.of.remove(&holder);
        }
    }
}

impl<H: Copy + Eq + Hash> Drop for Share<H> {
    fn drop(&mut self) {
        self.shrink(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_has_its_share_and_all_have_what_there_is() {
        let shares = Shares::new(5, 3);
        let mut held: Vec<_> = (0..3).map(|_| shares.take(Some("hot")).expect("a share")).collect();

        assert!(shares.take(Some("hot")).is_none());
        held.push(shares.take(Some("other")).expect("a share"));
        held.push(shares.take(None).expect("a share"));
        assert!(shares.take(Some("third")).is_none() && shares.take(None).is_none());
        assert_eq!(["hot", "other", "third"].map(|holder| shares.count_of(holder)), [3, 1, 0]);
        drop(held.remove(0));
        let again = shares.take(Some("hot"));
        assert!(again.is_some() && shares.take(Some("third")).is_none());
        let mut again = again.expect("a share");
        assert!(!again.grow(1));
        held.pop();
        held.pop();
        assert!(!again.grow(2) && again.grow(0) && again.count() == 1);
        held.remove(0);
        assert!(again.grow(1) && again.count() == 2);
        let before = shares.count();
        again.shrink(1);
        assert_eq!((again.count(), shares.count()), (1, before - 1));
        drop((held, again));
        let held = shares.held();
        assert!(held.count == 0 && held.of.is_empty());
    }
}
