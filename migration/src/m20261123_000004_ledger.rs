//! The ledger. Triggers make it append-only. A message has one charge and at most one refund. An idempotency key is
//! unique per team.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("ledger_entry")
            .id()
            .required(Uuid, &["team_id"])
            .optional(Uuid, &["account_id", "message_id"])
            .required(Text, &["kind"])
            .required(BigInteger, &["amount_micros", "balance_after_micros"])
            .optional(Text, &["idempotency_key", "note"])
            .required(Timestamp, &["created_at"])
            // There are no foreign keys to team and account, for the same reason as in the table `message`.
            .references(&["message_id"], "message", &["id"])
            .check("balance_after_micros BETWEEN 0 AND 1000000000000000")
            .check("amount_micros BETWEEN -1000000000000000 AND 1000000000000000")
            .check(
                "(kind = 'TOP_UP' AND amount_micros > 0 AND message_id IS NULL) \
                 OR (kind = 'ADJUSTMENT' AND amount_micros <> 0 AND message_id IS NULL) \
                 OR (kind = 'CHARGE' AND amount_micros < 0 AND message_id IS NOT NULL \
                     AND account_id IS NOT NULL) \
                 OR (kind = 'REFUND' AND amount_micros > 0 AND message_id IS NOT NULL \
                     AND account_id IS NOT NULL)",
            )
            .create(manager)
            .await?;
        for unique in [
            index("ledger_entry_once_per_message", "ledger_entry", &["message_id", "kind"]),
            index("ledger_entry_idempotency_key", "ledger_entry", &["team_id", "idempotency_key"]),
        ] {
            unique.unique().create(manager).await?;
        }
        index("ledger_entry_of_team", "ledger_entry", &["team_id", "id"]).create(manager).await?;
        index("ledger_entry_of_account", "ledger_entry", &["account_id", "id"])
            .create(manager)
            .await?;
        make_append_only(manager, "ledger_entry", "the ledger").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_append_only(manager, "ledger_entry").await
    }
}
