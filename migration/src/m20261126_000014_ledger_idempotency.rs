//! Restricts the index of the ledger's idempotency keys to entries that have one. Charges, the most
//! frequent entries, have none.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const INDEX: &str = "ledger_entry_idempotency_key";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager).await?;
        let has_key = Expr::cust("idempotency_key IS NOT NULL");
        manager.create_index(index().and_where(has_key).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager).await?;
        manager.create_index(index()).await
    }
}

async fn drop_index(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name(INDEX).table("ledger_entry").to_owned()).await
}

fn index() -> IndexCreateStatement {
    Index::create()
        .name(INDEX)
        .table("ledger_entry")
        .col("team_id")
        .col("idempotency_key")
        .unique()
        .to_owned()
}
