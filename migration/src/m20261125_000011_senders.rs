//! Senders, and the sender identity of each message. The index `sender_default` ensures that an account has at most one
//! default sender.
//!
//! A message refers to its sender without a foreign key, because a foreign key would cost a look-up per message. The
//! identity is stored in the message, so the sender may be deleted. Before a sender is deleted, the index
//! `message_of_sender_unclaimed` is used to find its waiting messages.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("sender")
            .id()
            .required(Uuid, &["team_id", "account_id"])
            .required(Text, &["name"])
            .required(Boolean, &["is_default"])
            .optional(Uuid, &["phone_number_id"])
            .optional(Text, &["email", "email_name", "whatsapp", "telegram"])
            .required(Timestamp, &["created_at", "updated_at"])
            .references(&["account_id"], "account", &["id"])
            .references(&["phone_number_id"], "phone_number", &["id"])
            .check("name <> ''")
            .check("email <> '' AND whatsapp <> '' AND telegram <> ''")
            .check("email_name IS NULL OR (email_name <> '' AND email IS NOT NULL)")
            .create(manager)
            .await?;
        index("sender_of_account", "sender", &["account_id", "id"]).create(manager).await?;
        let default = index("sender_default", "sender", &["account_id"]).unique();
        default.only("is_default").create(manager).await?;
        let number = index("sender_of_phone_number", "sender", &["account_id", "phone_number_id"]);
        number.unique().only("phone_number_id IS NOT NULL").create(manager).await?;
        add_column(manager, "message", &mut column(Uuid, "sender_id")).await?;
        add_column(manager, "message", &mut column(Text, "sent_from")).await?;
        index("message_of_sender_unclaimed", "message", &["account_id", "sender_id"])
            .only("sender_id IS NOT NULL AND status IN ('SCHEDULED', 'QUEUED')")
            .create(manager)
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, "message", "message_of_sender_unclaimed").await?;
        drop_columns(manager, "message", &["sent_from", "sender_id"]).await?;
        drop_table(manager, "sender").await
    }
}
