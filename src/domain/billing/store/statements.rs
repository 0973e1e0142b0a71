//! Shared by both databases: a struct with the SQL statements, how a commit can be interrupted, and a check that the
//! expected number of rows was written.

use uuid::Uuid;

use crate::domain::{
    Fault,
    billing::{
        Draft,
        batch::{BatchOutcome, BatchState},
        queue::SendRequest,
    },
};

/// The statements that accept and refund messages. They are fields of a struct, so that a test can replace one
/// statement with a faulty one and show that the fault is detected.
#[derive(Clone, Copy, Debug)]
pub struct Statements {
    /// Locks the batch's teams in id order. Empty on `SQLite`, because BEGIN IMMEDIATE has the effect of the lock.
    pub lock_teams: &'static str,
    /// Reads the batch's keys, each with its account and its team.
    pub read_keys: &'static str,
    /// Reads the stored messages that have one of the batch's idempotency keys.
    pub read_earlier: &'static str,
    /// Reads the batch's opted-out recipients. Used only if an account of the batch has opt-outs.
    pub read_opted_out: &'static str,
    /// Reads those contacts of the batch that exist and are not being erased. Used only if a message of the batch has a
    /// contact.
    pub read_contacts: &'static str,
    /// Writes the messages, ledger entries, usage, totals and balances of a batch.
    pub write: &'static str,
    /// Checks, charges and stores one message, if nothing prevents it. Empty on `SQLite`, because its statements need
    /// no round trips.
    pub accept_one: &'static str,
    /// Marks messages as refunded and returns those that were not refunded before.
    pub mark_refunded: &'static str,
}

/// How the commit of a batch failed.
pub(in crate::domain::billing) enum Interrupted {
    /// Nothing was committed.
    Before(Fault),
    /// COMMIT was sent, but no reply arrived: either everything or nothing was committed.
    InDoubt(Box<BatchOutcome>, Fault),
}

impl<E: Into<Fault>> From<E> for Interrupted {
    fn from(error: E) -> Self {
        Self::Before(error.into())
    }
}

/// Determines the outcome of a batch from the locked rows.
pub(in crate::domain::billing) type Decide<'a> = &'a (dyn Fn(BatchState) -> BatchOutcome + Sync);

/// Returns the drafts of a batch, each with its account.
pub(super) fn drafts<'a>(
    requests: &'a [&'a SendRequest],
) -> impl Iterator<Item = (Uuid, &'a Draft)> {
    let drafts = requests.iter().map(|SendRequest { caller, message }| {
        message.draft.as_ref().ok().map(|draft| (caller.account_id, draft))
    });
    drafts.flatten()
}

/// Checks that the number of written rows is the number that the outcome requires. The statements write a balance or
/// total only if it is still the value that was read.
pub(super) fn check_guards(written: u64, outcome: &BatchOutcome) -> Result<(), Fault> {
    let entries = outcome.charges.iter().filter(|charge| charge.entry.is_some()).count();
    let expected = outcome.charges.len()
        + entries
        + outcome.usage.len()
        + outcome.totals.len()
        + outcome.balances.len();
    if u64::try_from(expected).is_ok_and(|expected| expected == written) {
        Ok(())
    } else {
        Err(Fault::Broken("rows read under a team's lock do not change until the commit"))
    }
}
