//! Schedules: the earliest and latest time at which a message is sent, the statuses SCHEDULED and
//! EXPIRED, and the quiet hours of accounts.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATUSES: &str =
    "'QUEUED', 'SENDING', 'SENT', 'DELIVERED', 'UNDELIVERED', 'FAILED', 'CANCELED', 'UNKNOWN'";
const MORE_STATUSES: &str = "'SCHEDULED', 'EXPIRED', ";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        change_statuses(manager, "", MORE_STATUSES).await?;
        for column in ["send_at", "valid_until"] {
            add(manager, "message", ColumnDef::new(column).timestamp_with_time_zone()).await?;
        }
        for column in ["quiet_from_minute", "quiet_to_minute"] {
            let is_minute = Expr::cust(format!("{column} BETWEEN 0 AND 1439"));
            add(manager, "account", ColumnDef::new(column).integer().check(is_minute)).await?;
        }
        // The check of all three columns belongs to the last one, which `down` drops first.
        let all_or_none = Expr::cust(
            "(quiet_time_zone IS NULL AND quiet_from_minute IS NULL AND quiet_to_minute IS NULL) \
             OR (quiet_time_zone IS NOT NULL AND quiet_from_minute IS NOT NULL \
                 AND quiet_to_minute IS NOT NULL AND quiet_from_minute <> quiet_to_minute)",
        );
        add(manager, "account", ColumnDef::new("quiet_time_zone").text().check(all_or_none))
            .await?;
        index_waiting(manager, "status IN ('SCHEDULED', 'QUEUED', 'SENDING')").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            ("account", "quiet_time_zone"),
            ("account", "quiet_to_minute"),
            ("account", "quiet_from_minute"),
            ("message", "valid_until"),
            ("message", "send_at"),
        ] {
            manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await?;
        }
        // The replacements have the same meaning for the ledger and the worker.
        let connection = manager.get_connection();
        for (status, instead) in [("SCHEDULED", "QUEUED"), ("EXPIRED", "CANCELED")] {
            let update =
                format!("UPDATE message SET status = '{instead}' WHERE status = '{status}'");
            connection.execute_unprepared(&update).await?;
        }
        change_statuses(manager, MORE_STATUSES, "").await?;
        index_waiting(manager, "status IN ('QUEUED', 'SENDING')").await
    }
}

async fn add(
    manager: &SchemaManager<'_>,
    table: &'static str,
    column: &mut ColumnDef,
) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await
}

/// Recreates the index of messages that may still be refunded.
async fn index_waiting(manager: &SchemaManager<'_>, is_waiting: &'static str) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name("message_waiting").table("message").to_owned()).await?;
    manager
        .create_index(
            Index::create()
                .name("message_waiting")
                .table("message")
                .col("team_id")
                .col("id")
                .and_where(Expr::cust(is_waiting))
                .to_owned(),
        )
        .await
}

/// Changes the statuses that the CHECK allows in addition to the first ones.
///
/// `SQLite` cannot alter a CHECK, and the table cannot be rebuilt: the ledger refers to its rows, and
/// foreign keys cannot be disabled inside a transaction. The table's definition is therefore edited in
/// `sqlite_schema`, as `SQLite`'s manual describes for changes that keep the rows valid
/// (`lang_altertable`, section 7). Recreating the index afterwards makes other connections reload the
/// schema.
async fn change_statuses(manager: &SchemaManager<'_>, from: &str, to: &str) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    if manager.get_database_backend() == DbBackend::Postgres {
        let statement = format!(
            "ALTER TABLE message DROP CONSTRAINT message_status_check, \
             ADD CONSTRAINT message_status_check CHECK (status IN ({to}{STATUSES}))"
        );
        connection.execute_unprepared(&statement).await?;
        return Ok(());
    }
    let quoted = |statuses: &str| format!("status IN ({statuses}'QUEUED'").replace('\'', "''");
    let (from, to) = (quoted(from), quoted(to));
    let edit = format!(
        "UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') \
         WHERE type = 'table' AND name = 'message' AND instr(sql, '{from}') > 0"
    );
    connection.execute_unprepared("PRAGMA writable_schema = ON").await?;
    let edited = connection.execute_unprepared(&edit).await?.rows_affected();
    connection.execute_unprepared("PRAGMA writable_schema = RESET").await?;
    if edited == 1 {
        Ok(())
    } else {
        Err(DbErr::Migration("the table of messages has no CHECK of its status".to_owned()))
    }
}
