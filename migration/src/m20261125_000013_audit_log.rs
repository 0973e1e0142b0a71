//! The audit log. Triggers make it append-only. The column `action` has no CHECK, so that new actions can be added
//! without a migration.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("audit_entry")
            .id()
            // There are no foreign keys, because on PostgreSQL they would make an insert wait for the team's lock.
            .optional(Uuid, &["team_id", "account_id"])
            .required(Boolean, &["is_private"])
            .required(Text, &["actor"])
            .optional(Uuid, &["key_id"])
            .required(Text, &["action", "outcome"])
            .optional(Text, &["code"])
            .optional(Uuid, &["target_id"])
            .optional(Text, &["before", "after", "request_id"])
            .required(Timestamp, &["created_at"])
            .check("actor IN ('COMMAND_LINE', 'OPERATOR', 'MAIN_ACCOUNT', 'SUB_ACCOUNT')")
            .check("(actor = 'COMMAND_LINE') = (key_id IS NULL)")
            .check("actor NOT IN ('MAIN_ACCOUNT', 'SUB_ACCOUNT') OR team_id IS NOT NULL")
            .check("outcome IN ('DONE', 'REPLAYED', 'REFUSED')")
            .check("(outcome = 'REFUSED') = (code IS NOT NULL)")
            .check("account_id IS NULL OR team_id IS NOT NULL")
            .check("NOT is_private OR account_id IS NOT NULL")
            .create(manager)
            .await?;
        for index in [
            index("audit_entry_of_team", "audit_entry", &["team_id", "id"]),
            index("audit_entry_seen_by_team", "audit_entry", &["team_id", "is_private", "id"]),
            index("audit_entry_of_account", "audit_entry", &["account_id", "id"]),
        ] {
            index.create(manager).await?;
        }
        make_append_only(manager, "audit_entry", "the audit log").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_append_only(manager, "audit_entry").await
    }
}
