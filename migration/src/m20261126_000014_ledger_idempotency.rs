//! Restricts the index on the ledger's idempotency keys to entries that have such a key. Charges are the most frequent
//! entries, and have none.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const INDEX: &str = "ledger_entry_idempotency_key";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, "ledger_entry", INDEX).await?;
        new_index().only("idempotency_key IS NOT NULL").create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, "ledger_entry", INDEX).await?;
        new_index().create(manager).await
    }
}

fn new_index() -> NewIndex {
    index(INDEX, "ledger_entry", &["team_id", "idempotency_key"]).unique()
}
