//! Counts repeated refusals. Refused calls are equal if they have the same key, action, error code and target (an
//! account or team). The first of them is written to the audit log immediately. Equal calls within the next minute
//! increment the count of that entry: they are counted in memory, and the worker writes the counts every few seconds.
//! So a flood of refused calls costs the database one row a minute for each of at most [`TARGETS_MAX`] targets, and an
//! update every few seconds. Calls with further targets share one entry. If a process is killed, the counts of its last
//! seconds are lost, but no entry is lost.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use entity::audit_entry::{AuditAction, Column, Entity};
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, QueryFilter, sea_query::Expr};
use uuid::Uuid;

use crate::{app::App, domain::Fault};

/// How long further refusals are counted in the same entry.
pub const WINDOW: TimeDelta = TimeDelta::minutes(1);
/// Maximum number of counts written in one transaction. The number is limited because other writes wait for the
/// transaction.
const WRITTEN_TOGETHER: usize = 100;

/// Maximum number of accounts and teams that have their own entry within a minute, for each key, action and error code.
const TARGETS_MAX: usize = 100;

/// The properties other than the target that all refusals of one entry share.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Kind {
    key_id: Uuid,
    action: AuditAction,
    code: String,
}

/// The account or team that a refused call named, if any.
type Target = Option<Uuid>;

/// The refusals of one kind and target within a minute of the first refusal.
struct Window {
    begun: DateTime<Utc>,
    /// The id of the entry for the first refusal; `None` until the entry is written.
    entry: Option<Uuid>,
    /// Whether the entry for the first refusal could not be written. In this case the next refusal must be written.
    is_left: bool,
    /// Number of further refusals that arrived before the entry for the first refusal was written.
    early: i32,
}

impl Window {
    fn is_open(&self, now: DateTime<Utc>) -> bool {
        // The absolute value is used in case the clock was set back.
        (now - self.begun).abs() < WINDOW
    }
}

#[derive(Default)]
struct State {
    windows: HashMap<Kind, HashMap<Target, Window>>,
    /// The increments that are not written yet, by the id of the entry.
    unwritten: HashMap<Uuid, i32>,
}

impl State {
    fn window(&mut self, (kind, target): &(Kind, Target)) -> Option<&mut Window> {
        self.windows.get_mut(kind)?.get_mut(target)
    }

    fn add(&mut self, entry: Uuid, count: i32) {
        let unwritten = self.unwritten.entry(entry).or_default();
        *unwritten = unwritten.saturating_add(count);
    }
}

/// The refusals that this process counts.
#[derive(Default)]
pub struct RefusalCounts(Mutex<State>);

impl RefusalCounts {
    /// Counts a refused call. Returns `Some` if there is no entry in which the call can be counted. The caller must
    /// then write an entry.
    pub(in crate::domain) fn count(
        &self,
        key_id: Uuid,
        action: AuditAction,
        code: &str,
        target: Target,
        now: DateTime<Utc>,
    ) -> Option<First<'_>> {
        let kind = Kind { key_id, action, code: code.to_owned() };
        let mut state = self.state();
        let windows = state.windows.entry(kind.clone()).or_default();
        let is_known = windows.contains_key(&target);
        let target = target.filter(|_| is_known || windows.len() < TARGETS_MAX);
        match windows.get_mut(&target).filter(|window| window.is_open(now)) {
            Some(Window { entry: Some(entry), .. }) => {
                let entry = *entry;
                state.add(entry, 1);
                None
            }
            Some(window) if !window.is_left => {
                window.early = window.early.saturating_add(1);
                None
            }
            left => {
                let early = left.map_or(0, |window| window.early);
                let window = Window { begun: now, entry: None, is_left: false, early };
                windows.insert(target, window);
                Some(First { counts: self, alike: Some((kind, target)) })
            }
        }
    }

    /// Takes the counts that must be written, and removes windows that have ended.
    fn take(&self, now: DateTime<Utc>) -> Vec<(Uuid, i32)> {
        let mut state = self.state();
        state.windows.retain(|_, windows| {
            windows.retain(|_, window| {
                let is_being_entered = window.entry.is_none() && !window.is_left;
                is_being_entered || window.is_open(now)
            });
            !windows.is_empty()
        });
        state.unwritten.drain().collect()
    }

    fn put_back(&self, counts: &[(Uuid, i32)]) {
        let mut state = self.state();
        for (entry, count) in counts {
            state.add(*entry, *count);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refused call whose entry must be written. If this value is dropped before the entry is written, the next refused
/// call is treated as the first one, and its entry includes the calls in between.
pub(in crate::domain) struct First<'c> {
    counts: &'c RefusalCounts,
    alike: Option<(Kind, Target)>,
}

impl First<'_> {
    /// Records that the entry was written. Further refusals of the same kind and target are counted in it.
    pub(in crate::domain) fn entered(mut self, entry: Uuid) {
        let Some(alike) = self.alike.take() else { return };
        let mut state = self.counts.state();
        if let Some(window) = state.window(&alike) {
            window.entry = Some(entry);
            let early = std::mem::take(&mut window.early);
            if early > 0 {
                state.add(entry, early);
            }
        }
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        if let Some(alike) = self.alike.take()
            && let Some(window) = self.counts.state().window(&alike)
        {
            window.is_left = true;
        }
    }
}

/// Writes the counts that were added since the last call of this function. Counts that cannot be written are kept for
/// the next call.
pub async fn write_counts(app: &App) -> Result<(), Fault> {
    let counts = app.refusals.take(app.clock.now());
    for (at, together) in counts.chunks(WRITTEN_TOGETHER).enumerate() {
        if let Err(fault) = write(app, together).await {
            app.refusals.put_back(&counts[at * WRITTEN_TOGETHER..]);
            return Err(fault);
        }
    }
    Ok(())
}

async fn write(app: &App, counts: &[(Uuid, i32)]) -> Result<(), Fault> {
    let txn = app.db.begin_write().await?;
    for (entry, count) in counts {
        Entity::update_many()
            .col_expr(Column::Count, Expr::col(Column::Count).add(*count))
            .filter(Column::Id.eq(*entry))
            .exec(&txn)
            .await?;
    }
    Ok(txn.commit().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Uuid = Uuid::from_u128(1);
    const ENTRY: Uuid = Uuid::from_u128(2);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a time")
    }

    fn count(counts: &RefusalCounts, code: &str, seconds: i64) -> bool {
        let first = counts.count(KEY, AuditAction::CreateTeam, code, None, at(seconds));
        first.map(|first| first.entered(ENTRY)).is_some()
    }

    #[test]
    fn a_window_lasts_a_minute_from_its_first_refusal() {
        let counts = RefusalCounts::default();
        assert!(count(&counts, "FORBIDDEN", 0));
        assert!(!count(&counts, "FORBIDDEN", 59));
        assert!(count(&counts, "NAME_INVALID", 59), "another code is another entry");
        assert!(count(&counts, "FORBIDDEN", 60));
        assert!(!count(&counts, "FORBIDDEN", 119));
        // A window does not stay open if the clock is set far back.
        assert!(count(&counts, "FORBIDDEN", -1_000_000));
    }

    #[test]
    fn refusals_before_the_first_is_entered_are_counted() {
        let counts = RefusalCounts::default();
        let count_one = || counts.count(KEY, AuditAction::CreateTeam, "X", None, at(0));
        let first = count_one().expect("the first");
        for _ in 0..3 {
            assert!(count_one().is_none());
        }
        assert_eq!(counts.take(at(0)), []);
        first.entered(ENTRY);
        assert_eq!(counts.take(at(0)), [(ENTRY, 3)]);
        assert_eq!(counts.take(at(0)), []);
        // Counts that could not be written are kept.
        counts.put_back(&[(ENTRY, 3)]);
        assert!(!count(&counts, "X", 1));
        assert_eq!(counts.take(at(1)), [(ENTRY, 4)]);
    }

    #[test]
    fn a_first_that_was_not_entered_leaves_its_place() {
        let counts = RefusalCounts::default();
        let count_one = || counts.count(KEY, AuditAction::CreateTeam, "X", None, at(0));
        let first = count_one().expect("the first");
        assert!(count_one().is_none() && count_one().is_none());
        drop(first);
        // Refusals in between are counted with the next one.
        assert!(count(&counts, "X", 1));
        assert_eq!(counts.take(at(1)), [(ENTRY, 2)]);
        drop(counts.count(KEY, AuditAction::CreateTeam, "Y", None, at(0)));
        assert_eq!(counts.take(at(60)), []);
        assert_eq!(counts.state().windows.len(), 1, "what nobody follows is forgotten");
    }

    /// Accounts up to the maximum number have their own entries. Further accounts share one entry.
    #[test]
    fn accounts_have_their_own_entries() {
        let counts = RefusalCounts::default();
        let entry = |target: usize| Uuid::from_u128(1_000 + target as u128);
        let is_first = |target: usize| {
            let account = Some(Uuid::from_u128(target as u128));
            let first = counts.count(KEY, AuditAction::SuspendSubAccount, "X", account, at(0));
            first.map(|first| first.entered(entry(target))).is_some()
        };
        for target in 0..TARGETS_MAX {
            assert!(is_first(target) && !is_first(target));
        }
        assert!(is_first(TARGETS_MAX), "the one that others share");
        assert!(!is_first(TARGETS_MAX + 1) && !is_first(0));
        let mut counted = counts.take(at(0));
        counted.sort_unstable();
        let mut expected: Vec<_> = (0..=TARGETS_MAX).map(|target| (entry(target), 1)).collect();
        expected[0].1 = 2;
        assert_eq!(counted, expected);
    }

    #[test]
    fn windows_that_are_over_are_forgotten_and_their_counts_are_not() {
        let counts = RefusalCounts::default();
        assert!(count(&counts, "X", 0));
        assert!(!count(&counts, "X", 30));
        assert_eq!(counts.take(at(60)), [(ENTRY, 1)]);
        assert!(counts.state().windows.is_empty());
    }
}
