//! Daily totals of each account's LIVE messages, by channel and country.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("usage_day")
                    .col(ColumnDef::new("account_id").uuid().not_null())
                    .col(ColumnDef::new("day").date().not_null())
                    .col(ColumnDef::new("channel").text().not_null())
                    .col(ColumnDef::new("country").text().not_null())
                    .col(ColumnDef::new("team_id").uuid().not_null())
                    .col(ColumnDef::new("messages").big_integer().not_null())
                    .col(ColumnDef::new("segments").big_integer().not_null())
                    .col(ColumnDef::new("delivered").big_integer().not_null())
                    .col(ColumnDef::new("failed").big_integer().not_null())
                    .col(ColumnDef::new("charged_micros").big_integer().not_null())
                    .col(ColumnDef::new("refunded_micros").big_integer().not_null())
                    .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null())
                    .primary_key(
                        Index::create().col("account_id").col("day").col("channel").col("country"),
                    )
                    .foreign_key(
                        ForeignKey::create().from("usage_day", "account_id").to("account", "id"),
                    )
                    .foreign_key(ForeignKey::create().from("usage_day", "team_id").to("team", "id"))
                    .check(Expr::cust("messages >= 0 AND segments >= 0"))
                    .check(Expr::cust("delivered >= 0 AND failed >= 0"))
                    .check(Expr::cust("charged_micros >= 0 AND refunded_micros >= 0"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("usage_day_of_team")
                    .table("usage_day")
                    .col("team_id")
                    .col("day")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("usage_day").to_owned()).await
    }
}
