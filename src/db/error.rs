//! Converts the driver's errors, and classifies database errors.

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

/// Converts an error that occurred while opening a connection.
pub(super) fn connection_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}

/// Converts an error that occurred while running a statement.
pub(super) fn query_error(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

/// Returns whether a unique index refused the row.
///
/// Callers insert the row and check the error, instead of first looking for an existing row. Two concurrent inserts
/// therefore cannot both succeed.
pub fn is_unique_violation(error: &DbErr) -> bool {
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
}
