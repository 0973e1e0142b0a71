//! Indexes for filtering and ordering lists. A send updates only one of these indexes, `message_to_recipient`. The
//! others do not contain ordinary messages or charges.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let recipient = ["account_id", "environment", "recipient", "id"];
        index("message_to_recipient", "message", &recipient).create(manager).await?;
        index("message_of_rare_status", "message", &["account_id", "environment", "id"])
            .only("status NOT IN ('QUEUED', 'SENDING', 'SENT', 'DELIVERED')")
            .create(manager)
            .await?;
        for but_charges in [
            index("ledger_entry_of_team_but_charges", "ledger_entry", &["team_id", "id"]),
            index("ledger_entry_of_account_but_charges", "ledger_entry", &["account_id", "id"]),
        ] {
            but_charges.only("kind <> 'CHARGE'").create(manager).await?;
        }
        let by_name = ["team_id", "search_text", "id"];
        index("account_by_name", "account", &by_name).create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name) in [
            ("message", "message_to_recipient"),
            ("message", "message_of_rare_status"),
            ("ledger_entry", "ledger_entry_of_team_but_charges"),
            ("ledger_entry", "ledger_entry_of_account_but_charges"),
            ("account", "account_by_name"),
        ] {
            drop_index(manager, table, name).await?;
        }
        Ok(())
    }
}
