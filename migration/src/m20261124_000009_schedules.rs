//! Scheduled messages: the earliest and the latest time at which a message is sent, the statuses SCHEDULED and EXPIRED,
//! and the quiet hours of accounts.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const STATUSES: &str =
    "'QUEUED', 'SENDING', 'SENT', 'DELIVERED', 'UNDELIVERED', 'FAILED', 'CANCELED', 'UNKNOWN'";
const MORE_STATUSES: &str = "'SCHEDULED', 'EXPIRED', ";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        change_statuses(manager, "", MORE_STATUSES).await?;
        for name in ["send_at", "valid_until"] {
            add_column(manager, "message", &mut column(Timestamp, name)).await?;
        }
        for name in ["quiet_from_minute", "quiet_to_minute"] {
            let is_minute = Expr::cust(format!("{name} BETWEEN 0 AND 1439"));
            add_column(manager, "account", column(Integer, name).check(is_minute)).await?;
        }
        // The CHECK concerns all three columns. It is attached to the last column, because `down` drops that column
        // first.
        let all_or_none = Expr::cust(
            "(quiet_time_zone IS NULL AND quiet_from_minute IS NULL AND quiet_to_minute IS NULL) \
             OR (quiet_time_zone IS NOT NULL AND quiet_from_minute IS NOT NULL \
                 AND quiet_to_minute IS NOT NULL AND quiet_from_minute <> quiet_to_minute)",
        );
        add_column(manager, "account", column(Text, "quiet_time_zone").check(all_or_none)).await?;
        index_waiting(manager, "status IN ('SCHEDULED', 'QUEUED', 'SENDING')").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let quiet_hours = ["quiet_time_zone", "quiet_to_minute", "quiet_from_minute"];
        drop_columns(manager, "account", &quiet_hours).await?;
        drop_columns(manager, "message", &["valid_until", "send_at"]).await?;
        // The replacement statuses have the same effect on the ledger and on the worker.
        let replace =
            [("SCHEDULED", "QUEUED"), ("EXPIRED", "CANCELED")].map(|(status, instead)| {
                format!("UPDATE message SET status = '{instead}' WHERE status = '{status}'")
            });
        run(manager, &replace).await?;
        change_statuses(manager, MORE_STATUSES, "").await?;
        index_waiting(manager, "status IN ('QUEUED', 'SENDING')").await
    }
}

/// Recreates the index on messages that may still be refunded.
async fn index_waiting(manager: &SchemaManager<'_>, is_waiting: &'static str) -> Result<(), DbErr> {
    drop_index(manager, "message", "message_waiting").await?;
    index("message_waiting", "message", &["team_id", "id"]).only(is_waiting).create(manager).await
}

/// Changes the statuses that the CHECK allows in addition to the original ones. Afterwards, recreating the index makes
/// other connections to `SQLite` reload the schema.
async fn change_statuses(manager: &SchemaManager<'_>, from: &str, to: &str) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::Postgres {
        let statement = format!(
            "ALTER TABLE message DROP CONSTRAINT message_status_check, \
             ADD CONSTRAINT message_status_check CHECK (status IN ({to}{STATUSES}))"
        );
        return run(manager, &[statement]).await;
    }
    let [from, to] = [from, to].map(|statuses| format!("status IN ({statuses}'QUEUED'"));
    edit_definition(manager, "message", &from, &to).await
}
