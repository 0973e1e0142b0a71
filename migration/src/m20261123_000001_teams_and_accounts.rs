//! Teams with their balance, and accounts. A team has exactly one main account, which has no limit and no
//! total. No balance is negative, and no amount is greater than 10^15 micro-units.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("team")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("name").text().not_null())
                    .col(ColumnDef::new("balance_micros").big_integer().not_null())
                    .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null())
                    .check(Expr::cust("balance_micros BETWEEN 0 AND 1000000000000000"))
                    .to_owned(),
            )
            .await?;
        // `search_text` is sorted by bytes on both databases, which is the default on SQLite.
        let mut search_text = ColumnDef::new("search_text");
        search_text.text().not_null();
        if manager.get_database_backend() == DbBackend::Postgres {
            search_text.extra("COLLATE \"C\"");
        }
        manager
            .create_table(
                Table::create()
                    .table("account")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("team_id").uuid().not_null())
                    .col(ColumnDef::new("is_sub_account").boolean().not_null())
                    .col(ColumnDef::new("name").text().not_null())
                    .col(ColumnDef::new("status").text().not_null())
                    .col(ColumnDef::new("status_reason").text())
                    .col(ColumnDef::new("status_changed_at").timestamp_with_time_zone())
                    .col(ColumnDef::new("credit_limit_micros").big_integer())
                    .col(ColumnDef::new("total_spent_micros").big_integer().not_null())
                    .col(ColumnDef::new("external_id").text())
                    .col(ColumnDef::new("metadata").text())
                    .col(ColumnDef::new("team_balance_visible").boolean().not_null())
                    .col(search_text)
                    .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null())
                    .foreign_key(ForeignKey::create().from("account", "team_id").to("team", "id"))
                    .check(Expr::cust("status IN ('ACTIVE', 'SUSPENDED', 'INACTIVE')"))
                    .check(Expr::cust("total_spent_micros BETWEEN 0 AND 1000000000000000"))
                    .check(Expr::cust("credit_limit_micros BETWEEN 0 AND 1000000000000000"))
                    .check(Expr::cust(
                        "is_sub_account OR (credit_limit_micros IS NULL \
                         AND total_spent_micros = 0 AND status = 'ACTIVE' AND external_id IS NULL)",
                    ))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("account_one_main_per_team")
                    .table("account")
                    .col("team_id")
                    .unique()
                    .and_where(Expr::cust("NOT is_sub_account"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("account_external_id")
                    .table("account")
                    .col("team_id")
                    .col("external_id")
                    .unique()
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("account_of_team")
                    .table("account")
                    .col("team_id")
                    .col("id")
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("account").to_owned()).await?;
        manager.drop_table(Table::drop().table("team").to_owned()).await
    }
}
