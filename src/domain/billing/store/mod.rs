//! How a batch reaches the database: one transaction that locks the teams, reads what judges, and
//! writes what was decided. The statements are fixed texts, so that each is prepared once.

use sea_orm::DbBackend;
use uuid::Uuid;

use super::{
    Draft,
    batch::{BatchOutcome, BatchState},
    queue::Sending,
};
use crate::{db::WriterDb, domain::Fault};

mod postgres;
mod sqlite;

use postgres::POSTGRES;
use sqlite::SQLITE;

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

impl Statements {
    pub fn of(backend: DbBackend) -> Self {
        if backend == DbBackend::Postgres { POSTGRES } else { SQLITE }
    }
}

/// Why a batch was not committed, as far as is known.
pub(super) enum Interrupted {
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

/// A writer's own way to the database.
pub(super) enum Store {
    Postgres(Box<postgres::Store>),
    Sqlite(sqlite::Store),
}

/// Decides a batch from what the locked rows say.
pub(super) type Decide<'a> = &'a (dyn Fn(BatchState) -> BatchOutcome + Sync);

impl Store {
    pub fn new(db: WriterDb, statements: Statements) -> Self {
        match db {
            WriterDb::Postgres { options, deadline } => {
                Self::Postgres(Box::new(postgres::Store::new(*options, deadline, statements)))
            }
            WriterDb::Sqlite(db) => Self::Sqlite(sqlite::Store::new(db, statements)),
        }
    }

    /// Turns that requests in progress get to join the next batch. Measured: four are worth it where the
    /// database is another process, and cost `SQLite`, which works meanwhile, a twelfth of its sends.
    pub fn turns_before_batch(&self) -> usize {
        match self {
            Self::Postgres(_) => 4,
            Self::Sqlite(_) => 0,
        }
    }

    /// Locks, reads, decides, writes and commits.
    pub async fn commit(
        &mut self,
        sendings: &[&Sending],
        decide: Decide<'_>,
    ) -> Result<BatchOutcome, Interrupted> {
        match self {
            Self::Postgres(store) => store.commit(sendings, decide).await,
            Self::Sqlite(store) => store.commit(sendings, decide).await,
        }
    }

    /// Accepts one message by the shortest route; `None`, and nothing written, where the ordinary one
    /// has to look closer.
    pub async fn accept_one(
        &mut self,
        judged: BatchOutcome,
        entry_id: Uuid,
    ) -> Result<Option<BatchOutcome>, Interrupted> {
        match self {
            Self::Postgres(store) => store.accept_one(judged, entry_id).await,
            Self::Sqlite(_) => Ok(None),
        }
    }

    /// Whether a message of a batch in doubt is there, once its transaction has certainly ended.
    pub async fn was_committed(&mut self, judged: &BatchOutcome) -> Result<bool, Fault> {
        match self {
            Self::Postgres(store) => store.was_committed(judged).await,
            Self::Sqlite(store) => store.was_committed(judged).await,
        }
    }
}

/// What goes out of a batch, by account.
fn drafts<'a>(sendings: &'a [&'a Sending]) -> impl Iterator<Item = (Uuid, &'a Draft)> {
    let drafts = sendings.iter().map(|Sending { caller, message }| {
        message.draft.as_ref().ok().map(|draft| (caller.account_id, draft))
    });
    drafts.flatten()
}

/// What the guards of a batch's statements let through, against what was decided under the lock.
fn check_guards(written: u64, judged: &BatchOutcome) -> Result<(), Fault> {
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
