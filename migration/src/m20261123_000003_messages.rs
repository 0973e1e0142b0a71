//! Messages. An idempotency key is unique per account and environment. TEST messages cost nothing.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("message")
            .id()
            .required(Uuid, &["team_id", "account_id", "api_key_id"])
            .required(Text, &["environment", "channel", "status", "recipient"])
            .optional(Text, &["country", "subject"])
            .required(Text, &["text"])
            .required(Integer, &["segments"])
            .required(BigInteger, &["cost_micros"])
            .optional(Timestamp, &["refunded_at"])
            .optional(Text, &["error_code", "error_message", "idempotency_key"])
            .required(Blob, &["input_hash"])
            .optional(Text, &["metadata"])
            .optional(Timestamp, &["due_at"])
            .optional(Uuid, &["lease_id"])
            .required(Timestamp, &["created_at", "updated_at"])
            // This is the only foreign key. The other referenced rows are read under the team's lock and are never
            // deleted. Each foreign key would cost a look-up per message (measured: 28 % more sends without the foreign
            // keys of this table and of the ledger).
            .references(&["account_id"], "account", &["id"])
            .check("environment IN ('LIVE', 'TEST')")
            .check("channel IN ('SMS', 'EMAIL', 'WHATSAPP', 'TELEGRAM')")
            .check(
                "status IN ('QUEUED', 'SENDING', 'SENT', 'DELIVERED', 'UNDELIVERED', \
                 'FAILED', 'CANCELED', 'UNKNOWN')",
            )
            .check("segments >= 1")
            .check("cost_micros BETWEEN 0 AND 1000000000000000")
            .check("environment = 'LIVE' OR cost_micros = 0")
            .create(manager)
            .await?;
        let key = ["account_id", "environment", "idempotency_key"];
        let idempotency_key = index("message_idempotency_key", "message", &key).unique();
        idempotency_key.only("idempotency_key IS NOT NULL").create(manager).await?;
        let of_account = ["account_id", "environment", "id"];
        index("message_of_account", "message", &of_account).create(manager).await?;
        let waiting = index("message_waiting", "message", &["team_id", "id"]);
        waiting.only("status IN ('QUEUED', 'SENDING')").create(manager).await?;
        // The queue of the worker, for all accounts. The index stays small, because settled messages are removed from
        // it.
        let due = index("message_due", "message", &["due_at"]);
        due.only("due_at IS NOT NULL").create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "message").await
    }
}
