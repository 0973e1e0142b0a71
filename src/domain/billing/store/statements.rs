//! What both databases share: the statements as a value, how a commit can be interrupted, and the check of what was written.

use uuid::Uuid;

use crate::domain::{
    Fault,
    billing::{
        Draft,
        batch::{BatchOutcome, BatchState},
        queue::Sending,
    },
};

/// The statements of the accept path and of refunds, as a value: the tests plant faults by swapping
/// single ones, and see their checks fail.
#[derive(Clone, Copy, Debug)]
pub struct Statements {
    /// Locks the batch's teams in id order. Empty on `SQLite`, where BEGIN IMMEDIATE is the lock.
    pub lock_teams: &'static str,
    /// The batch's keys, each with its account and its team.
    pub read_keys: &'static str,
    /// The messages that hold the batch's idempotency keys.
    pub read_earlier: &'static str,
    /// The batch's recipients that are opted out; asked only where an account of the batch has any.
    pub read_opted_out: &'static str,
    /// Which of the batch's contacts are there, and not being erased; asked only where a message of the batch goes to
    /// one.
    pub read_contacts: &'static str,
    /// Messages, ledger entries, usage, totals and balances of a batch.
    pub write: &'static str,
    /// One message that nothing stands against: judged, charged and stored by one statement. Empty on
    /// `SQLite`, where a statement costs no round trip.
    pub accept_one: &'static str,
    /// Marks messages as paid back and returns those that were not yet.
    pub mark_refunded: &'static str,
}

/// Why a batch was not committed, as far as is known.
pub(in crate::domain::billing) enum Interrupted {
    /// Nothing was committed.
    Before(Fault),
    /// COMMIT was sent and not answered: everything was committed, or nothing.
    InDoubt(Box<BatchOutcome>, Fault),
}

impl<E: Into<Fault>> From<E> for Interrupted {
    fn from(error: E) -> Self {
        Self::Before(error.into())
    }
}

/// Decides a batch from what the locked rows say.
pub(in crate::domain::billing) type Decide<'a> = &'a (dyn Fn(BatchState) -> BatchOutcome + Sync);

/// What goes out of a batch, by account.
pub(super) fn drafts<'a>(sendings: &'a [&'a Sending]) -> impl Iterator<Item = (Uuid, &'a Draft)> {
    let drafts = sendings.iter().map(|Sending { caller, message }| {
        message.draft.as_ref().ok().map(|draft| (caller.account_id, draft))
    });
    drafts.flatten()
}

/// What the guards of a batch's statements let through, against what was decided under the lock.
pub(super) fn check_guards(written: u64, judged: &BatchOutcome) -> Result<(), Fault> {
    let entries = judged.charges.iter().filter(|charge| charge.entry.is_some()).count();
    let expected = judged.charges.len()
        + entries
        + judged.usage.len()
        + judged.totals.len()
        + judged.balances.len();
    if u64::try_from(expected).is_ok_and(|expected| expected == written) {
        Ok(())
    } else {
        Err(Fault::Broken("what is read under a team's lock holds until the commit"))
    }
}
