//! Templates, and the HTML and the contact of a message. A message refers to its contact without a
//! foreign key: an erasure removes the reference, and a foreign key costs a look-up per message.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in [ColumnDef::new("html").text(), ColumnDef::new("contact_id").uuid()] {
            let add = Table::alter().table("message").add_column(column).to_owned();
            manager.alter_table(add).await?;
        }
        // It contains only messages that were sent to a contact.
        manager
            .create_index(
                Index::create()
                    .name("message_of_contact")
                    .table("message")
                    .col("account_id")
                    .col("contact_id")
                    .and_where(Expr::cust("contact_id IS NOT NULL"))
                    .to_owned(),
            )
            .await?;
        create_templates(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table("template").to_owned()).await?;
        let index = Index::drop().name("message_of_contact").table("message").to_owned();
        manager.drop_index(index).await?;
        for column in ["contact_id", "html"] {
            let drop = Table::alter().table("message").drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}

async fn create_templates(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let has_a_body = Expr::cust(
        "sms_text IS NOT NULL OR email_text IS NOT NULL OR email_html IS NOT NULL \
         OR whatsapp_text IS NOT NULL OR telegram_text IS NOT NULL",
    );
    let subject_has_a_body =
        Expr::cust("email_subject IS NULL OR email_text IS NOT NULL OR email_html IS NOT NULL");
    manager
        .create_table(
            Table::create()
                .table("template")
                .col(ColumnDef::new("id").uuid().not_null().primary_key())
                .col(ColumnDef::new("team_id").uuid().not_null())
                .col(ColumnDef::new("account_id").uuid().not_null())
                .col(ColumnDef::new("name").text().not_null())
                .col(ColumnDef::new("sms_text").text())
                .col(ColumnDef::new("email_subject").text())
                .col(ColumnDef::new("email_text").text())
                .col(ColumnDef::new("email_html").text())
                .col(ColumnDef::new("whatsapp_text").text())
                .col(ColumnDef::new("telegram_text").text())
                .col(ColumnDef::new("variables").text().not_null())
                .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                .col(ColumnDef::new("updated_at").timestamp_with_time_zone().not_null())
                .foreign_key(
                    ForeignKey::create().from("template", "account_id").to("account", "id"),
                )
                .check(has_a_body)
                .check(subject_has_a_body)
                .to_owned(),
        )
        .await?;
    manager
        .create_index(
            Index::create()
                .name("template_of_account")
                .table("template")
                .col("account_id")
                .col("id")
                .to_owned(),
        )
        .await
}
