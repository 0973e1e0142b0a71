//! The rules of the product and all of its SQL. Knows neither GraphQL nor HTTP.
//!
//! There are two ways to fail. [`Failure::Refused`] is the caller's affair: a code of the action's
//! own enum, written out where it is decided, that becomes data in the answer. [`Fault`] is
//! everything else; `?` on a database error makes one.

use std::borrow::Cow;

use sea_orm::DbErr;

pub mod account;
pub mod api_key;
pub mod api_key_list;
pub mod audit;
pub mod authentication;
pub mod billing;
pub mod caller;
pub mod delivery;
pub mod ledger;
pub mod magic_recipient;
pub mod message;
pub mod message_list;
pub mod page;
pub mod plain_key;
pub mod price;
pub mod price_import;
pub mod recipient;
pub mod segments;
pub mod sub_account;
pub mod sub_account_list;
pub mod team;
pub mod usage;
pub mod validate;

/// A refusal that the caller can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<C> {
    pub code: C,
    /// For people: what was wrong and what to do.
    pub message: Cow<'static, str>,
    /// The path of the argument at fault, from the mutation's arguments down; empty if none is.
    pub field: &'static [&'static str],
}

/// Why an action did not happen. Nothing was changed.
#[derive(Debug)]
pub enum Failure<C> {
    Refused(Refusal<C>),
    Fault(Fault),
}

/// A failure that is no answer of the action itself.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// An argument that no rule of the action judges, such as a page size or a cursor.
    #[error("{0}")]
    BadInput(Cow<'static, str>),
    /// The caller's role does not allow this; the text says what would.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The key was revoked or ran out since the request was let in.
    #[error("The API key is not valid any more.")]
    KeyRevoked,
    #[error("the database failed: {0}")]
    Database(#[from] DbErr),
    /// The books contradict themselves or the program does: a bug, to be logged.
    #[error("a broken invariant: {0}")]
    Broken(&'static str),
}

impl Fault {
    /// Whether nothing was done because the database could not be reached or was too busy: the same
    /// request may succeed later.
    pub fn is_unavailable(&self) -> bool {
        use sea_orm::{RuntimeErr, sqlx};
        let Self::Database(error) = self else { return false };
        let (DbErr::Conn(inner) | DbErr::Exec(inner) | DbErr::Query(inner)) = error else {
            return matches!(error, DbErr::ConnectionAcquire(_));
        };
        let RuntimeErr::SqlxError(inner) = inner else {
            return matches!(error, DbErr::Conn(_));
        };
        match &**inner {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
            sqlx::Error::Database(inner) => {
                inner.code().is_some_and(|code| BUSY_CODES.contains(&&*code))
            }
            _ => matches!(error, DbErr::Conn(_)),
        }
    }
}

/// PostgreSQL: serialization failure, deadlock, lock not available, canceled by a timeout, too many
/// connections, shutting down or starting. `SQLite`: busy, locked, and busy with a snapshot.
const BUSY_CODES: [&str; 11] =
    ["40001", "40P01", "55P03", "57014", "53300", "57P01", "57P02", "57P03", "5", "6", "517"];

impl<C> From<Fault> for Failure<C> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<C> From<DbErr> for Failure<C> {
    fn from(error: DbErr) -> Self {
        Self::Fault(Fault::Database(error))
    }
}

/// Writes a refusal out: `return Err(refused(LastKey, &["id"], "…"))`.
pub fn refused<C>(
    code: C,
    field: &'static [&'static str],
    message: impl Into<Cow<'static, str>>,
) -> Failure<C> {
    Failure::Refused(Refusal { code, message: message.into(), field })
}

/// A bad argument that no rule of the action judges.
pub fn bad_input(message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::BadInput(message.into())
}
