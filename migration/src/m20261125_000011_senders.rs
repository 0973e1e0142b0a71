//! Senders, and the sender's identity of each message. The index `sender_default` ensures that an account
//! has at most one default sender.
//!
//! A message refers to its sender without a foreign key, which would cost a look-up per message. A
//! message keeps the identity, so that its sender may be deleted. The deletion finds waiting messages
//! with the index `message_of_sender_unclaimed`.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create_senders(manager).await?;
        for column in [ColumnDef::new("sender_id").uuid(), ColumnDef::new("sent_from").text()] {
            manager
                .alter_table(Table::alter().table("message").add_column(column).to_owned())
                .await?;
        }
        manager
            .create_index(
                Index::create()
                    .name("message_of_sender_unclaimed")
                    .table("message")
                    .col("account_id")
                    .col("sender_id")
                    .and_where(Expr::cust(
                        "sender_id IS NOT NULL AND status IN ('SCHEDULED', 'QUEUED')",
                    ))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::drop().name("message_of_sender_unclaimed").table("message").to_owned();
        manager.drop_index(index).await?;
        for column in ["sent_from", "sender_id"] {
            manager
                .alter_table(Table::alter().table("message").drop_column(column).to_owned())
                .await?;
        }
        manager.drop_table(Table::drop().table("sender").to_owned()).await
    }
}

async fn create_senders(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager
        .create_table(
            Table::create()
                .table("sender")
                .col(ColumnDef::new("id").uuid().not_null().primary_key())
                .col(ColumnDef::new("team_id").uuid().not_null())
                .col(ColumnDef::new("account_id").uuid().not_null())
                .col(ColumnDef::new("name").text().not_null())
                .col(ColumnDef::new("is_default").boolean().not_null())
                .col(ColumnDef::new("phone_number_id").uuid())
                .col(ColumnDef::new("email").text())
                .col(ColumnDef::new("email_name").text())
                .col(ColumnDef::new("whatsapp").text())
                .col(ColumnDef::new("telegram").text())
                .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null())
                .foreign_key(ForeignKey::create().from("sender", "account_id").to("account", "id"))
                .foreign_key(
                    ForeignKey::create().from("sender", "phone_number_id").to("phone_number", "id"),
                )
                .check(Expr::cust("name <> ''"))
                .check(Expr::cust("email <> '' AND whatsapp <> '' AND telegram <> ''"))
                .check(Expr::cust("email_name IS NULL OR (email_name <> '' AND email IS NOT NULL)"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("sender_of_account")
                .table("sender")
                .col("account_id")
                .col("id")
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("sender_default")
                .table("sender")
                .col("account_id")
                .unique()
                .and_where(Expr::cust("is_default"))
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("sender_of_phone_number")
                .table("sender")
                .col("account_id")
                .col("phone_number_id")
                .unique()
                .and_where(Expr::cust("phone_number_id IS NOT NULL"))
                .to_owned(),
        )
        .await
}
