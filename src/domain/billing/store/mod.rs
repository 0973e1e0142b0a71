//! Commits a batch: one transaction locks the teams, reads the rows on which the batch's outcome depends, and writes
//! the outcome. The SQL strings are constant, so that each statement is prepared only once.

use sea_orm::DbBackend;
use uuid::Uuid;

use super::{batch::BatchOutcome, queue::SendRequest};
use crate::{db::WriterDb, domain::Fault};

mod postgres;
mod sqlite;
mod statements;

use postgres::POSTGRES;
use sqlite::SQLITE;

pub use statements::Statements;
pub(super) use statements::{Decide, Interrupted};

impl Statements {
    pub fn of(backend: DbBackend) -> Self {
        if backend == DbBackend::Postgres { POSTGRES } else { SQLITE }
    }
}

/// A writer's own connection to the database.
pub(super) enum Store {
    Postgres(Box<postgres::Store>),
    Sqlite(sqlite::Store),
}

impl Store {
    pub fn new(db: WriterDb, statements: Statements) -> Self {
        match db {
            WriterDb::Postgres { options, deadline } => {
                Self::Postgres(Box::new(postgres::Store::new(*options, deadline, statements)))
            }
            WriterDb::Sqlite(db) => Self::Sqlite(sqlite::Store::new(db, statements)),
        }
    }

    /// Returns how often the writer yields before it takes a batch, so that requests in progress can add their messages
    /// to the batch. Measured: four times are best for `PostgreSQL`. `SQLite` runs in this process, and yielding
    /// reduces its throughput by 8 %.
    pub fn yields_before_batch(&self) -> usize {
        match self {
            Self::Postgres(_) => 4,
            Self::Sqlite(_) => 0,
        }
    }

    /// Commits a batch.
    pub async fn commit(
        &mut self,
        requests: &[&SendRequest],
        decide: Decide<'_>,
    ) -> Result<BatchOutcome, Interrupted> {
        match self {
            Self::Postgres(store) => store.commit(requests, decide).await,
            Self::Sqlite(store) => store.commit(requests, decide).await,
        }
    }

    /// Accepts one message on the fast path. Returns `None` and writes nothing if the message must take the ordinary
    /// path.
    pub async fn accept_one(
        &mut self,
        outcome: BatchOutcome,
        entry_id: Uuid,
    ) -> Result<Option<BatchOutcome>, Interrupted> {
        match self {
            Self::Postgres(store) => store.accept_one(outcome, entry_id).await,
            Self::Sqlite(_) => Ok(None),
        }
    }

    /// Waits until the transaction of a batch with an unknown outcome has ended, and returns whether the batch was
    /// committed.
    pub async fn was_committed(&mut self, outcome: &BatchOutcome) -> Result<bool, Fault> {
        match self {
            Self::Postgres(store) => store.was_committed(outcome).await,
            Self::Sqlite(store) => store.was_committed(outcome).await,
        }
    }
}
