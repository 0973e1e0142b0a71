//! Failures that are not an outcome of the action itself. This module also classifies database errors: whether nothing
//! was done, and whether a retry can succeed.

use std::{borrow::Cow, sync::Arc, time::Duration};

use sea_orm::{DbErr, RuntimeErr, sqlx};

/// A failure that is not an outcome of the action itself.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// An argument for which the action has no refusal code, such as a page size or a cursor.
    #[error("{0}")]
    BadInput(Cow<'static, str>),
    /// The response would exceed the maximum size of its text.
    #[error(
        "The response has too much text. Request smaller pages, or omit text and metadata fields."
    )]
    TooMuchText,
    /// The account or its team exceeded its write rate. After the time `wait`, the same number of bytes is allowed.
    #[error(
        "The write rate limit (2 MiB of text per second) is exceeded; nothing was done. Wait, then try again."
    )]
    WritesTooFast { wait: Duration },
    /// The caller's role does not allow the action. The message names the kind of key that is needed.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The key was revoked or expired after the request was authenticated.
    #[error("The API key was revoked or has expired.")]
    KeyRevoked,
    /// The server cannot process the request now.
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    #[error("the database failed: {0}")]
    Database(#[from] DbErr),
    /// A bug: an invariant of the program or of its data does not hold. The string states the invariant. The fault is
    /// logged.
    #[error("invariant violated: {0}")]
    Broken(&'static str),
}

/// The reason why the server cannot process a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error("The server is too busy; nothing was charged. Try again in a second.")]
    Overloaded,
    #[error("The server is shutting down; nothing was charged. Try again.")]
    Stopping,
    #[error("The message was not processed in time; nothing was charged. Try again.")]
    NotInTime,
    #[error("The templates were not rendered in time; nothing was done. Try again.")]
    TemplatesLate,
    #[error("The database does not respond. Try again with the same idempotency key.")]
    Silent,
    #[error(
        "The server's memory limit for large responses has been reached. Try again in a moment, request smaller \
         pages, or omit text and metadata fields."
    )]
    TextsWait,
    #[error(
        "The outcome is unknown: the message may have been accepted. Send it again with the same \
         idempotency key."
    )]
    OutcomeUnknown,
}

/// PostgreSQL error codes for a lock timeout and a statement timeout.
const LOCK_TIMEOUTS: [&str; 2] = ["55P03", "57014"];
/// PostgreSQL error codes for a serialization failure and a deadlock.
const COLLISIONS: [&str; 2] = ["40001", "40P01"];
/// PostgreSQL error codes for a session that was terminated or a server that is shutting down.
const SHUTDOWNS: [&str; 3] = ["57P01", "57P02", "57P03"];
/// PostgreSQL error codes for too many connections, a full disk, too little memory, an I/O error, an
/// idle-in-transaction timeout, and a read-only database.
const BUSY: [&str; 6] = ["53300", "53100", "53200", "58030", "25P03", "25006"];
/// `SQLite` error codes for a busy database, a locked table, an I/O error, and a full disk. These are the low bytes of
/// the extended error codes.
const SQLITE_BUSY: [i32; 4] = [5, 6, 10, 13];

const SQLITE_CONSTRAINT: i32 = 19;

impl Fault {
    /// Returns whether the database could not be reached or was too busy. In this case nothing was done, and the same
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

    /// Returns whether the connection was lost or was closed by a timeout.
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

    /// Returns whether the database reported that it terminated the session. In this case the statement was not
    /// executed.
    pub fn is_shutdown(&self) -> bool {
        self.has_code(&SHUTDOWNS)
    }

    /// Returns whether a single row of a batch may be the cause: the row has invalid data or violates a constraint.
    pub fn is_about_a_row(&self) -> bool {
        let is_data = match self.sqlx_error() {
            Some(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
            }
            _ => matches!(self, Self::Broken(_)),
        };
        is_data || self.has_sqlite_code(&[SQLITE_CONSTRAINT])
    }

    /// Returns whether the wait for a lock or the execution of a statement timed out.
    pub fn is_lock_timeout(&self) -> bool {
        self.has_code(&LOCK_TIMEOUTS)
    }

    /// Returns whether nothing was done and an immediate retry of the transaction may succeed.
    pub fn is_retryable(&self) -> bool {
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
