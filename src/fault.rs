//! Failures that are no answer of the action itself, and what a database error means.

use std::{borrow::Cow, sync::Arc, time::Duration};

use sea_orm::{DbErr, RuntimeErr, sqlx};

/// A failure that is no answer of the action itself.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// An argument that no rule of the action judges, such as a page size or a cursor.
    #[error("{0}")]
    BadInput(Cow<'static, str>),
    /// The answer would hold more text than one answer may.
    #[error(
        "The answer has too much text: ask for smaller pages, or without the texts and metadata."
    )]
    TooMuchText,
    /// The account writes more bytes than its rate allows; after the wait it may write these.
    #[error(
        "The account writes more than 2 MiB of text a second; nothing was done. Wait, then try again."
    )]
    WritesTooFast { wait: Duration },
    /// The caller's role does not allow this; the text says what would.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The key was revoked or ran out since the request was let in.
    #[error("The API key is not valid any more.")]
    KeyRevoked,
    /// The server cannot do it now.
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    #[error("the database failed: {0}")]
    Database(#[from] DbErr),
    /// The books contradict themselves or the program does: a bug, to be logged.
    #[error("a broken invariant: {0}")]
    Broken(&'static str),
}

/// Why the server cannot say more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("The server is too busy; nothing was charged. Try again in a second.")]
    Overloaded,
    #[error("The server is about to stop; nothing was charged. Try again.")]
    Stopping,
    #[error("The message was not judged in time; nothing was charged. Try again.")]
    NotInTime,
    #[error("The templates were not rendered in time; nothing was done. Try again.")]
    TemplatesLate,
    #[error("The database does not answer; try again, with the same idempotency key.")]
    Silent,
    #[error(
        "Too many long texts wait for their readers. Ask again in a moment, for smaller pages, or without \
         the texts and metadata."
    )]
    TextsWait,
    #[error(
        "The outcome is not known: the message may have been accepted. Send it again with the same \
         idempotency key."
    )]
    OutcomeUnknown,
}

/// PostgreSQL: a lock or a statement that took too long.
const LOCK_TIMEOUTS: [&str; 2] = ["55P03", "57014"];
/// PostgreSQL: serialization failure, deadlock.
const COLLISIONS: [&str; 2] = ["40001", "40P01"];
/// PostgreSQL: the server or the session is being ended.
const SHUTDOWNS: [&str; 3] = ["57P01", "57P02", "57P03"];
/// PostgreSQL: too many connections, disk full, out of memory, I/O error, idle for too long in a
/// transaction, read-only.
const BUSY: [&str; 6] = ["53300", "53100", "53200", "58030", "25P03", "25006"];
/// `SQLite`: busy, locked, I/O error, disk full. Their extended codes have these as the low byte.
const SQLITE_BUSY: [i32; 4] = [5, 6, 10, 13];

const SQLITE_CONSTRAINT: i32 = 19;

impl Fault {
    /// Whether nothing was done because the database could not be reached or was too busy: the same
    /// request may succeed later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
            || matches!(self, Self::Database(DbErr::ConnectionAcquire(_)))
            || self.is_lost_connection()
            || self.has_code(&LOCK_TIMEOUTS)
            || self.has_code(&COLLISIONS)
            || self.has_code(&BUSY)
            || self.has_sqlite_code(&SQLITE_BUSY)
    }

    /// Whether the connection was lost, or given up because it took too long.
    pub fn is_lost_connection(&self) -> bool {
        if matches!(self, Self::Unavailable(Unavailable::Silent)) || self.has_code(&SHUTDOWNS) {
            return true;
        }
        let Self::Database(error) = self else { return false };
        match self.sqlx_error() {
            Some(sqlx::Error::Database(_)) => false,
            Some(error) => {
                use sqlx::Error::{Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
                matches!(
                    error,
                    Io(_) | PoolClosed | PoolTimedOut | Protocol(_) | Tls(_) | WorkerCrashed
                )
            }
            None => matches!(error, DbErr::Conn(_)),
        }
    }

    /// Whether the database itself said that it ended the session: it did not do what it was asked.
    pub fn is_shutdown(&self) -> bool {
        self.has_code(&SHUTDOWNS)
    }

    /// Whether one row of several may be what the database refuses.
    pub fn is_about_a_row(&self) -> bool {
        let is_data = match self.sqlx_error() {
            Some(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
            }
            _ => matches!(self, Self::Broken(_)),
        };
        is_data || self.has_sqlite_code(&[SQLITE_CONSTRAINT])
    }

    /// Whether a lock or a statement took longer than it may.
    pub fn is_lock_timeout(&self) -> bool {
        self.has_code(&LOCK_TIMEOUTS)
    }

    /// Whether nothing was done, and the same transaction may well succeed at once.
    pub fn is_worth_another_try(&self) -> bool {
        self.has_code(&COLLISIONS)
            || (self.is_lost_connection() && !matches!(self, Self::Unavailable(_)))
    }

    fn has_code(&self, codes: &[&str]) -> bool {
        match self.sqlx_error() {
            Some(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| codes.contains(&&*code))
            }
            _ => false,
        }
    }

    fn has_sqlite_code(&self, codes: &[i32]) -> bool {
        let Some(sqlx::Error::Database(error)) = self.sqlx_error() else { return false };
        let Some(error) = error.try_downcast_ref::<sqlx::sqlite::SqliteError>() else {
            return false;
        };
        let code = sqlx::error::DatabaseError::code(error).and_then(|code| code.parse().ok());
        code.is_some_and(|code: i32| codes.contains(&(code & 0xff)))
    }

    fn sqlx_error(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(
                DbErr::Conn(RuntimeErr::SqlxError(error))
                | DbErr::Exec(RuntimeErr::SqlxError(error))
                | DbErr::Query(RuntimeErr::SqlxError(error)),
            ) => Some(error),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))))
    }
}
