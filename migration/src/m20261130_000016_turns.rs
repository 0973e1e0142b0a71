//! Fair delivery between accounts, and changes of accounts that are applied to their messages in steps.
//!
//! The index of due messages begins with the environment, the status and the team instead of the time, so
//! that the worker finds the accounts with due messages without reading each account's backlog.

use sea_orm_migration::{prelude::*, sea_orm::Statement};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in ["cancel_until", "quiet_check_after"] {
            let add = Table::alter()
                .table("account")
                .add_column(ColumnDef::new(column).uuid())
                .to_owned();
            manager.alter_table(add).await?;
        }
        drop(manager, "message_due").await?;
        drop(manager, "message_waiting").await?;
        drop(manager, "message_of_sender_unclaimed").await?;
        // For all teams. It stays small, because settled messages leave it.
        create(
            manager,
            "message_turns",
            &["environment", "status", "team_id", "account_id", "due_at"],
            "due_at IS NOT NULL",
        )
        .await?;
        create(manager, "message_waiting", &["team_id", "account_id", "id"], WAITING).await?;
        create(
            manager,
            "message_of_sender_unclaimed",
            &["account_id", "sender_id", "sent_from"],
            UNCLAIMED_OF_SENDER,
        )
        .await?;
        // Few messages have a `validUntil`, and few are postponed by quiet hours.
        create(
            manager,
            "message_expiring",
            &["account_id", "environment", "status", "valid_until"],
            "valid_until IS NOT NULL AND status IN ('SCHEDULED', 'QUEUED')",
        )
        .await?;
        create(
            manager,
            "message_put_off",
            &["account_id", "id"],
            "status = 'SCHEDULED' AND (send_at IS NULL OR send_at <> due_at)",
        )
        .await?;
        manager
            .create_index(
                index("account_backlog", "account", &["team_id", "id"])
                    .and_where(Expr::cust(
                        "(cancel_until IS NOT NULL OR quiet_check_after IS NOT NULL)",
                    ))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Earlier versions of the program would never cancel and refund these messages.
        let pending = "SELECT id FROM account WHERE cancel_until IS NOT NULL LIMIT 1";
        let connection = manager.get_connection();
        let pending = Statement::from_string(manager.get_database_backend(), pending);
        if connection.query_one_raw(pending).await?.is_some() {
            let message = "messages of a deactivated account wait to be canceled; let the server do that first";
            return Err(DbErr::Migration(message.to_owned()));
        }
        let account_backlog = Index::drop().name("account_backlog").table("account").to_owned();
        manager.drop_index(account_backlog).await?;
        for name in [
            "message_put_off",
            "message_expiring",
            "message_of_sender_unclaimed",
            "message_waiting",
            "message_turns",
        ] {
            drop(manager, name).await?;
        }
        create(manager, "message_due", &["due_at"], "due_at IS NOT NULL").await?;
        create(manager, "message_waiting", &["team_id", "id"], WAITING).await?;
        create(
            manager,
            "message_of_sender_unclaimed",
            &["account_id", "sender_id"],
            UNCLAIMED_OF_SENDER,
        )
        .await?;
        for column in ["quiet_check_after", "cancel_until"] {
            let drop = Table::alter().table("account").drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}

const WAITING: &str = "status IN ('SCHEDULED', 'QUEUED', 'SENDING')";
const UNCLAIMED_OF_SENDER: &str = "sender_id IS NOT NULL AND status IN ('SCHEDULED', 'QUEUED')";

fn index(
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(table).to_owned();
    for column in columns {
        index.col(*column);
    }
    index
}

async fn create(
    manager: &SchemaManager<'_>,
    name: &'static str,
    columns: &[&'static str],
    condition: &'static str,
) -> Result<(), DbErr> {
    let index = index(name, "message", columns).and_where(Expr::cust(condition)).to_owned();
    manager.create_index(index).await
}

async fn drop(manager: &SchemaManager<'_>, name: &'static str) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name(name).table("message").to_owned()).await
}
