//! Contacts. Within an account, an address belongs to only one contact. A contact has at most one primary address per
//! channel. The foreign keys of addresses and tags include the account, so that no row can refer to another account's
//! contact.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("contact")
            .id()
            .required(Uuid, &["team_id", "account_id"])
            .optional(Text, &["display_name", "locale", "time_zone", "metadata"])
            .required(Text, &["search_text"])
            .required(Timestamp, &["created_at", "updated_at"])
            .references(&["account_id"], "account", &["id"])
            .create(manager)
            .await?;
        index("contact_of_account", "contact", &["account_id", "id"])
            .unique()
            .create(manager)
            .await?;
        table("contact_address")
            .id()
            .required(Uuid, &["team_id", "account_id", "contact_id"])
            .required(Text, &["channel", "address"])
            .optional(Text, &["label"])
            .required(Boolean, &["is_primary"])
            .references(&["account_id", "contact_id"], "contact", &["account_id", "id"])
            .check("channel IN ('SMS', 'EMAIL', 'WHATSAPP', 'TELEGRAM')")
            .check("address <> ''")
            .create(manager)
            .await?;
        let address = ["account_id", "channel", "address"];
        index("contact_address_unique", "contact_address", &address)
            .unique()
            .create(manager)
            .await?;
        let of_channel = ["account_id", "contact_id", "channel"];
        let primary = index("contact_address_primary", "contact_address", &of_channel).unique();
        primary.only("is_primary").create(manager).await?;
        let of_contact = ["account_id", "contact_id", "id"];
        index("contact_address_of_contact", "contact_address", &of_contact).create(manager).await?;
        table("contact_tag")
            .required(Uuid, &["account_id", "contact_id"])
            .required(Text, &["tag"])
            .required(Uuid, &["team_id"])
            .primary_key(&["account_id", "contact_id", "tag"])
            .references(&["account_id", "contact_id"], "contact", &["account_id", "id"])
            .check("tag <> ''")
            .create(manager)
            .await?;
        let of_account = ["account_id", "tag", "contact_id"];
        index("contact_tag_of_account", "contact_tag", &of_account).create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["contact_tag", "contact_address", "contact"] {
            drop_table(manager, table).await?;
        }
        Ok(())
    }
}
