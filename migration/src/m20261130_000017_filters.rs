//! Indexes for the filters and orders of lists. A send updates only one of them, `message_to_recipient`:
//! the others do not contain ordinary messages and charges.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

struct NewIndex {
    name: &'static str,
    table: &'static str,
    columns: &'static [&'static str],
    only: Option<&'static str>,
}

const INDEXES: [NewIndex; 5] = [
    NewIndex {
        name: "message_to_recipient",
        table: "message",
        columns: &["account_id", "environment", "recipient", "id"],
        only: None,
    },
    NewIndex {
        name: "message_of_rare_status",
        table: "message",
        columns: &["account_id", "environment", "id"],
        only: Some("status NOT IN ('QUEUED', 'SENDING', 'SENT', 'DELIVERED')"),
    },
    NewIndex {
        name: "ledger_entry_of_team_but_charges",
        table: "ledger_entry",
        columns: &["team_id", "id"],
        only: Some("kind <> 'CHARGE'"),
    },
    NewIndex {
        name: "ledger_entry_of_account_but_charges",
        table: "ledger_entry",
        columns: &["account_id", "id"],
        only: Some("kind <> 'CHARGE'"),
    },
    NewIndex {
        name: "account_by_name",
        table: "account",
        columns: &["team_id", "search_text", "id"],
        only: None,
    },
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for NewIndex { name, table, columns, only } in INDEXES {
            let mut index = Index::create();
            index.name(name).table(table);
            for column in columns {
                index.col(*column);
            }
            if let Some(only) = only {
                index.and_where(Expr::cust(only));
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for NewIndex { name, table, .. } in INDEXES {
            manager.drop_index(Index::drop().name(name).table(table).to_owned()).await?;
        }
        Ok(())
    }
}
