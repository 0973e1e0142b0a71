//! Counts the stored TEST messages of an account and their bytes. Indexes TEST messages by the time at which their
//! retention begins. Existing messages are counted with 0 bytes, so that no row has to be rewritten. They will be
//! deleted soon anyway.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

/// The index with which the worker finds the TEST messages to delete, for all accounts. It is small, because it does
/// not contain LIVE messages.
const INDEX: &str = "CREATE INDEX message_test_kept ON message \
     ((CASE WHEN send_at > created_at THEN send_at ELSE created_at END)) WHERE environment = 'TEST'";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let is_of_test = Expr::cust("word_bytes = 0 OR (word_bytes > 0 AND environment = 'TEST')");
        let mut word_bytes = column(Integer, "word_bytes");
        word_bytes.not_null().default(0).check(is_of_test);
        add_column(manager, "message", &mut word_bytes).await?;
        for name in ["test_message_count", "test_message_bytes"] {
            let mut count = column(BigInteger, name);
            count.not_null().default(0).check(Expr::cust(format!("{name} >= 0")));
            add_column(manager, "account", &mut count).await?;
        }
        let count = "UPDATE account SET test_message_count = (SELECT COUNT(*) \
                     FROM message m WHERE m.account_id = account.id AND m.environment = 'TEST')";
        run(manager, &[count, INDEX]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, "message", "message_test_kept").await?;
        drop_columns(manager, "account", &["test_message_bytes", "test_message_count"]).await?;
        drop_columns(manager, "message", &["word_bytes"]).await
    }
}
