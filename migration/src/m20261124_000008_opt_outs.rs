//! Opt-outs. They are unique per account, channel and address. Every send looks for an opt-out by these columns.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("opt_out")
            .id()
            .required(Uuid, &["team_id", "account_id"])
            .required(Text, &["channel", "address", "source"])
            .optional(Text, &["reason"])
            .required(Timestamp, &["created_at"])
            .references(&["account_id"], "account", &["id"])
            .check("channel IN ('SMS', 'EMAIL', 'WHATSAPP', 'TELEGRAM')")
            .check("address <> ''")
            .check("source IN ('API', 'IMPORT', 'INBOUND')")
            .create(manager)
            .await?;
        let address = ["account_id", "channel", "address"];
        index("opt_out_unique", "opt_out", &address).unique().create(manager).await?;
        index("opt_out_of_account", "opt_out", &["account_id", "id"]).create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "opt_out").await
    }
}
