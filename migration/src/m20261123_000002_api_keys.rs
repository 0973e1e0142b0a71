//! API keys. A key is looked up by its hash. Only operator keys have no team and no account.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("api_key")
            .id()
            .optional(Uuid, &["team_id", "account_id"])
            .required(Text, &["role", "name"])
            .required(Blob, &["hash"])
            .required(Text, &["prefix", "last_four", "environment"])
            .required(Timestamp, &["created_at"])
            .optional(Timestamp, &["expires_at", "grace_ends_at", "revoked_at", "last_used_at"])
            .references(&["team_id"], "team", &["id"])
            .references(&["account_id"], "account", &["id"])
            .check("environment IN ('LIVE', 'TEST')")
            .check("role IN ('OPERATOR', 'MAIN_ACCOUNT', 'SUB_ACCOUNT')")
            .check("(role = 'OPERATOR') = (team_id IS NULL)")
            .check("(role = 'OPERATOR') = (account_id IS NULL)")
            .create(manager)
            .await?;
        index("api_key_hash", "api_key", &["hash"]).unique().create(manager).await?;
        index("api_key_of_account", "api_key", &["account_id", "id"]).create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "api_key").await
    }
}
