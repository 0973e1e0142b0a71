//! Messages. An idempotency key is unique per account and environment. TEST messages cost nothing.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("message")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("team_id").uuid().not_null())
                    .col(ColumnDef::new("account_id").uuid().not_null())
                    .col(ColumnDef::new("api_key_id").uuid().not_null())
                    .col(ColumnDef::new("environment").text().not_null())
                    .col(ColumnDef::new("channel").text().not_null())
                    .col(ColumnDef::new("status").text().not_null())
                    .col(ColumnDef::new("recipient").text().not_null())
                    .col(ColumnDef::new("country").text())
                    .col(ColumnDef::new("subject").text())
                    .col(ColumnDef::new("text").text().not_null())
                    .col(ColumnDef::new("segments").integer().not_null())
                    .col(ColumnDef::new("cost_micros").big_integer().not_null())
                    .col(ColumnDef::new("refunded_at").timestamp_with_time_zone())
                    .col(ColumnDef::new("error_code").text())
                    .col(ColumnDef::new("error_message").text())
                    .col(ColumnDef::new("idempotency_key").text())
                    .col(ColumnDef::new("input_hash").blob().not_null())
                    .col(ColumnDef::new("metadata").text())
                    .col(ColumnDef::new("due_at").timestamp_with_time_zone())
                    .col(ColumnDef::new("lease_id").uuid())
                    .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null())
                    // The only foreign key. Other referenced rows are read under the team's lock
                    // and never deleted, and each foreign key costs a look-up per message (measured
                    // with those of the ledger: 28 % more sends without them).
                    .foreign_key(
                        ForeignKey::create().from("message", "account_id").to("account", "id"),
                    )
                    .check(Expr::cust("environment IN ('LIVE', 'TEST')"))
                    .check(Expr::cust("channel IN ('SMS', 'EMAIL', 'WHATSAPP', 'TELEGRAM')"))
                    .check(Expr::cust(
                        "status IN ('QUEUED', 'SENDING', 'SENT', 'DELIVERED', 'UNDELIVERED', \
                         'FAILED', 'CANCELED', 'UNKNOWN')",
                    ))
                    .check(Expr::cust("segments >= 1"))
                    .check(Expr::cust("cost_micros BETWEEN 0 AND 1000000000000000"))
                    .check(Expr::cust("environment = 'LIVE' OR cost_micros = 0"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("message_idempotency_key")
                    .table("message")
                    .col("account_id")
                    .col("environment")
                    .col("idempotency_key")
                    .unique()
                    .and_where(Expr::cust("idempotency_key IS NOT NULL"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("message_of_account")
                    .table("message")
                    .col("account_id")
                    .col("environment")
                    .col("id")
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("message_waiting")
                    .table("message")
                    .col("team_id")
                    .col("id")
                    .and_where(Expr::cust("status IN ('QUEUED', 'SENDING')"))
                    .to_owned(),
            )
            .await?;
        // The worker's queue, for all accounts. It stays small, because settled messages leave it.
        manager
            .create_index(
                Index::create()
                    .name("message_due")
                    .table("message")
                    .col("due_at")
                    .and_where(Expr::cust("due_at IS NOT NULL"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("message").to_owned()).await
    }
}
