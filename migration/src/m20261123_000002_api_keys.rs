//! API keys, which are looked up by the hash of the key. Only operator keys have no team and account.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("api_key")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("team_id").uuid())
                    .col(ColumnDef::new("account_id").uuid())
                    .col(ColumnDef::new("role").text().not_null())
                    .col(ColumnDef::new("name").text().not_null())
                    .col(ColumnDef::new("hash").blob().not_null())
                    .col(ColumnDef::new("prefix").text().not_null())
                    .col(ColumnDef::new("last_four").text().not_null())
                    .col(ColumnDef::new("environment").text().not_null())
                    .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new("expires_at").timestamp_with_time_zone())
                    .col(ColumnDef::new("grace_ends_at").timestamp_with_time_zone())
                    .col(ColumnDef::new("revoked_at").timestamp_with_time_zone())
                    .col(ColumnDef::new("last_used_at").timestamp_with_time_zone())
                    .foreign_key(ForeignKey::create().from("api_key", "team_id").to("team", "id"))
                    .foreign_key(
                        ForeignKey::create().from("api_key", "account_id").to("account", "id"),
                    )
                    .check(Expr::cust("environment IN ('LIVE', 'TEST')"))
                    .check(Expr::cust("role IN ('OPERATOR', 'MAIN_ACCOUNT', 'SUB_ACCOUNT')"))
                    .check(Expr::cust("(role = 'OPERATOR') = (team_id IS NULL)"))
                    .check(Expr::cust("(role = 'OPERATOR') = (account_id IS NULL)"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("api_key_hash")
                    .table("api_key")
                    .col("hash")
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("api_key_of_account")
                    .table("api_key")
                    .col("account_id")
                    .col("id")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("api_key").to_owned()).await
    }
}
