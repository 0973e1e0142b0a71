//! Counts the stored TEST messages of an account and their bytes, and indexes TEST messages by the
//! beginning of their retention. Existing messages count with 0 bytes, so that no row is rewritten; they
//! are deleted soon.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// For all accounts, so that the worker finds messages to delete. It stays small without LIVE messages.
const INDEX: &str = "CREATE INDEX message_test_kept ON message \
     ((CASE WHEN send_at > created_at THEN send_at ELSE created_at END)) WHERE environment = 'TEST'";
const COUNTS: [&str; 2] = ["test_message_count", "test_message_bytes"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let is_of_test = Expr::cust("word_bytes = 0 OR (word_bytes > 0 AND environment = 'TEST')");
        let mut word_bytes = ColumnDef::new("word_bytes");
        word_bytes.integer().not_null().default(0).check(is_of_test);
        add(manager, "message", &mut word_bytes).await?;
        for name in COUNTS {
            let mut count = ColumnDef::new(name);
            count.big_integer().not_null().default(0).check(Expr::cust(format!("{name} >= 0")));
            add(manager, "account", &mut count).await?;
        }
        let of_account =
            "FROM message m WHERE m.account_id = account.id AND m.environment = 'TEST'";
        let connection = manager.get_connection();
        for statement in [
            format!("UPDATE account SET test_message_count = (SELECT COUNT(*) {of_account})"),
            INDEX.to_owned(),
        ] {
            connection.execute_unprepared(&statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let index = Index::drop().name("message_test_kept").table("message").to_owned();
        manager.drop_index(index).await?;
        for (table, column) in
            [("account", COUNTS[1]), ("account", COUNTS[0]), ("message", "word_bytes")]
        {
            manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}

async fn add(
    manager: &SchemaManager<'_>,
    table: &'static str,
    column: &mut ColumnDef,
) -> Result<(), DbErr> {
    manager.alter_table(Table::alter().table(table).add_column(column).to_owned()).await
}
