//! How a batch reaches the database: one transaction that locks the teams, reads what judges, and
//! writes what was decided. The statements are fixed texts, so that each is prepared once.

use sea_orm::DbBackend;
use uuid::Uuid;

use super::{batch::BatchOutcome, queue::Sending};
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

/// A writer's own way to the database.
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
