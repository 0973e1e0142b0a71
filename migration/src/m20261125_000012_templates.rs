//! Templates, and two new columns of messages: HTML and contact. A message refers to its contact without a foreign key.
//! An erasure removes the reference, and a foreign key would cost a look-up per message.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "message", &mut column(Text, "html")).await?;
        add_column(manager, "message", &mut column(Uuid, "contact_id")).await?;
        // This index contains only messages that have been sent to a contact.
        let of_contact = index("message_of_contact", "message", &["account_id", "contact_id"]);
        of_contact.only("contact_id IS NOT NULL").create(manager).await?;
        table("template")
            .id()
            .required(Uuid, &["team_id", "account_id"])
            .required(Text, &["name"])
            .optional(Text, &["sms_text", "email_subject", "email_text", "email_html"])
            .optional(Text, &["whatsapp_text", "telegram_text"])
            .required(Text, &["variables"])
            .required(Timestamp, &["created_at", "updated_at"])
            .references(&["account_id"], "account", &["id"])
            .check(
                "sms_text IS NOT NULL OR email_text IS NOT NULL OR email_html IS NOT NULL \
                 OR whatsapp_text IS NOT NULL OR telegram_text IS NOT NULL",
            )
            .check("email_subject IS NULL OR email_text IS NOT NULL OR email_html IS NOT NULL")
            .create(manager)
            .await?;
        index("template_of_account", "template", &["account_id", "id"]).create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "template").await?;
        drop_index(manager, "message", "message_of_contact").await?;
        drop_columns(manager, "message", &["contact_id", "html"]).await
    }
}
