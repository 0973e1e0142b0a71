//! Conversion of the driver's errors, and classification of database errors.

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

/// An error of opening a connection.
pub(super) fn connection_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// An error of running a statement.
pub(super) fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

/// Whether a unique index refused the row.
///
/// Callers insert and check this instead of looking for the value first, so that two concurrent
/// inserts cannot both succeed.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}
