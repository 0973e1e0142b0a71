//! Fair delivery between accounts, and account changes that are applied to the account's messages in several steps.
//!
//! The index on due messages now begins with the environment, the status and the team instead of the time. The worker
//! can therefore find the accounts that have due messages without reading the backlog of each account.

use sea_orm_migration::sea_orm::Statement;

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["cancel_until", "quiet_check_after"] {
            add_column(manager, "account", &mut column(Uuid, name)).await?;
        }
        for name in ["message_due", "message_waiting", "message_of_sender_unclaimed"] {
            drop_index(manager, "message", name).await?;
        }
        // The queue of the worker, for all teams. The index stays small, because settled messages are removed from it.
        let turns = ["environment", "status", "team_id", "account_id", "due_at"];
        let turns = index("message_turns", "message", &turns);
        turns.only("due_at IS NOT NULL").create(manager).await?;
        waiting(&["team_id", "account_id", "id"]).create(manager).await?;
        of_sender(&["account_id", "sender_id", "sent_from"]).create(manager).await?;
        // The index is small, because few messages have a `validUntil` and few are postponed by quiet hours.
        let expiring = ["account_id", "environment", "status", "valid_until"];
        index("message_expiring", "message", &expiring)
            .only("valid_until IS NOT NULL AND status IN ('SCHEDULED', 'QUEUED')")
            .create(manager)
            .await?;
        index("message_put_off", "message", &["account_id", "id"])
            .only("status = 'SCHEDULED' AND (send_at IS NULL OR send_at <> due_at)")
            .create(manager)
            .await?;
        index("account_backlog", "account", &["team_id", "id"])
            .only("(cancel_until IS NOT NULL OR quiet_check_after IS NOT NULL)")
            .create(manager)
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Earlier versions of the program would never cancel and refund these messages, so the migration cannot be
        // reverted while there are any.
        let pending = "SELECT id FROM account WHERE cancel_until IS NOT NULL LIMIT 1";
        let pending = Statement::from_string(manager.get_database_backend(), pending);
        if manager.get_connection().query_one_raw(pending).await?.is_some() {
            let message = "messages of a deactivated account wait to be canceled; let the server do that first";
            return Err(DbErr::Migration(message.to_owned()));
        }
        drop_index(manager, "account", "account_backlog").await?;
        for name in [
            "message_put_off",
            "message_expiring",
            "message_of_sender_unclaimed",
            "message_waiting",
            "message_turns",
        ] {
            drop_index(manager, "message", name).await?;
        }
        let due = index("message_due", "message", &["due_at"]);
        due.only("due_at IS NOT NULL").create(manager).await?;
        waiting(&["team_id", "id"]).create(manager).await?;
        of_sender(&["account_id", "sender_id"]).create(manager).await?;
        drop_columns(manager, "account", &["quiet_check_after", "cancel_until"]).await
    }
}

fn waiting(columns: &[&'static str]) -> NewIndex {
    index("message_waiting", "message", columns)
        .only("status IN ('SCHEDULED', 'QUEUED', 'SENDING')")
}

fn of_sender(columns: &[&'static str]) -> NewIndex {
    index("message_of_sender_unclaimed", "message", columns)
        .only("sender_id IS NOT NULL AND status IN ('SCHEDULED', 'QUEUED')")
}
