//! Contacts. An address belongs to one contact of an account, and a contact has at most one primary
//! address per channel. The foreign keys of addresses and tags include the account, so that no row can
//! refer to another account's contact.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("contact")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("team_id").uuid().not_null())
                    .col(ColumnDef::new("account_id").uuid().not_null())
                    .col(ColumnDef::new("display_name").text())
                    .col(ColumnDef::new("locale").text())
                    .col(ColumnDef::new("time_zone").text())
                    .col(ColumnDef::new("metadata").text())
                    .col(ColumnDef::new("search_text").text().not_null())
                    .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                    .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null())
                    .foreign_key(
                        ForeignKey::create().from("contact", "account_id").to("account", "id"),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("contact_of_account")
                    .table("contact")
                    .col("account_id")
                    .col("id")
                    .unique()
                    .to_owned(),
            )
            .await?;
        create_addresses(manager).await?;
        create_tags(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["contact_tag", "contact_address", "contact"] {
            manager.drop_table(Table::drop().table(table).to_owned()).await?;
        }
        Ok(())
    }
}

async fn create_addresses(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("contact_address")
                .col(ColumnDef::new("id").uuid().not_null().primary_key())
                .col(ColumnDef::new("team_id").uuid().not_null())
                .col(ColumnDef::new("account_id").uuid().not_null())
                .col(ColumnDef::new("contact_id").uuid().not_null())
                .col(ColumnDef::new("channel").text().not_null())
                .col(ColumnDef::new("address").text().not_null())
                .col(ColumnDef::new("label").text())
                .col(ColumnDef::new("is_primary").boolean().not_null())
                .foreign_key(
                    ForeignKey::create()
                        .from("contact_address", ("account_id", "contact_id"))
                        .to("contact", ("account_id", "id")),
                )
                .check(Expr::cust("channel IN ('SMS', 'EMAIL', 'WHATSAPP', 'TELEGRAM')"))
                .check(Expr::cust("address <> ''"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("contact_address_unique")
                .table("contact_address")
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
                .name("contact_address_primary")
                .table("contact_address")
                .col("account_id")
                .col("contact_id")
                .col("channel")
                .unique()
                .and_where(Expr::cust("is_primary"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("contact_address_of_contact")
                .table("contact_address")
                .col("account_id")
                .col("contact_id")
                .col("id")
                .to_owned(),
        )
        .await
}

async fn create_tags(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("contact_tag")
                .col(ColumnDef::new("account_id").uuid().not_null())
                .col(ColumnDef::new("contact_id").uuid().not_null())
                .col(ColumnDef::new("tag").text().not_null())
                .col(ColumnDef::new("team_id").uuid().not_null())
                .primary_key(Index::create().col("account_id").col("contact_id").col("tag"))
                .foreign_key(
                    ForeignKey::create()
                        .from("contact_tag", ("account_id", "contact_id"))
                        .to("contact", ("account_id", "id")),
                )
                .check(Expr::cust("tag <> ''"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("contact_tag_of_account")
                .table("contact_tag")
                .col("account_id")
                .col("tag")
                .col("contact_id")
                .to_owned(),
        )
        .await
}
