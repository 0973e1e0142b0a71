//! Opt-outs, unique per account, channel and address. Every send looks for one by these columns.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("opt_out")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("team_id").uuid().not_null())
                    .col(ColumnDef::new("account_id").uuid().not_null())
                    .col(ColumnDef::new("channel").text().not_null())
                    .col(ColumnDef::new("address").text().not_null())
                    .col(ColumnDef::new("source").text().not_null())
                    .col(ColumnDef::new("reason").text())
                    .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                    .foreign_key(
                        ForeignKey::create().from("opt_out", "account_id").to("account", "id"),
                    )
                    .check(Expr::cust("channel IN ('SMS', 'EMAIL', 'WHATSAPP', 'TELEGRAM')"))
                    .check(Expr::cust("address <> ''"))
                    .check(Expr::cust("source IN ('API', 'IMPORT', 'INBOUND')"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("opt_out_unique")
                    .table("opt_out")
                    .col("account_id")
                    .col("channel")
                    .col("address")
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("opt_out_of_account")
                    .table("opt_out")
                    .col("account_id")
                    .col("id")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("opt_out").to_owned()).await
    }
}
