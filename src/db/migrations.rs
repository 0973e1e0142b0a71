//! The state of the database schema: which migrations have been applied.

use std::str::FromStr as _;

use migration::{Migrator, MigratorTrait as _};
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, Statement,
    sqlx::{self, ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions},
};

use super::{
    error::{connection_error, query_error},
    reach,
};

/// The table that records the applied migrations.
pub const MIGRATIONS_TABLE: &str = "seaql_migrations";
/// Takes the PostgreSQL advisory lock that ensures that only one process at a time changes the schema.
pub(super) const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(5466134209)";

/// Applies all pending migrations in the given transaction.
pub(super) async fn apply(txn: &DatabaseTransaction) -> Result<(), DbErr> {
    if txn.get_database_backend() == DbBackend::Postgres {
        // The timeouts are disabled because another process may be migrating, and migrating a large table takes long.
        txn.execute_unprepared(
            "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; SET LOCAL ROLE NONE",
        )
        .await?;
        txn.execute_unprepared(MIGRATION_LOCK).await?;
    }
    Migrator::up(txn, None).await
}

/// Returns the number of migrations that this program contains.
pub(super) fn total() -> usize {
    Migrator::migrations().len()
}

/// Returns the number of migrations of this program that have not been applied.
pub(super) async fn pending<C: ConnectionTrait>(db: &C) -> Result<usize, DbErr> {
    if db.get_database_backend() == DbBackend::Postgres {
        // If the login may not read the table, the library reports the table as missing.
        let read = db.query_one_raw(Statement::from_string(
            DbBackend::Postgres,
            "SELECT version FROM seaql_migrations LIMIT 1",
        ));
        if let Err(error) = read.await
            && reach::missing_right(&error).is_some()
        {
            return Err(error);
        }
    }
    Ok(Migrator::get_pending_migrations_read_only(db).await?.len())
}

/// Returns the names of the tables in the file of an `SQLite` URL. The file is not changed.
pub async fn tables_of_sqlite(url: &str) -> Result<Vec<String>, DbErr> {
    let options = SqliteConnectOptions::from_str(url).map_err(connection_error)?;
    let options = options.create_if_missing(false).disable_statement_logging();
    let mut connection = options.connect().await.map_err(query_error)?;
    let tables = sqlx::query_scalar("SELECT name FROM sqlite_master WHERE type = 'table'");
    let tables = tables.fetch_all(&mut connection).await.map_err(query_error);
    connection.close().await.map_err(query_error)?;
    tables
}
