//! Teams with their balance, and accounts. A team has exactly one main account. The main account has no credit limit
//! and no total of its spending. A balance is never negative, and an amount is never greater than 10^15 micro-units.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("team")
            .id()
            .required(Text, &["name"])
            .required(BigInteger, &["balance_micros"])
            .required(Timestamp, &["created_at", "updated_at"])
            .check("balance_micros BETWEEN 0 AND 1000000000000000")
            .create(manager)
            .await?;
        // Both databases sort `search_text` by bytes. On SQLite this is the default.
        let mut search_text = column(Text, "search_text");
        search_text.not_null();
        if manager.get_database_backend() == DbBackend::Postgres {
            search_text.extra("COLLATE \"C\"");
        }
        table("account")
            .id()
            .required(Uuid, &["team_id"])
            .required(Boolean, &["is_sub_account"])
            .required(Text, &["name", "status"])
            .optional(Text, &["status_reason"])
            .optional(Timestamp, &["status_changed_at"])
            .optional(BigInteger, &["credit_limit_micros"])
            .required(BigInteger, &["total_spent_micros"])
            .optional(Text, &["external_id", "metadata"])
            .required(Boolean, &["team_balance_visible"])
            .column(&mut search_text)
            .required(Timestamp, &["created_at", "updated_at"])
            .references(&["team_id"], "team", &["id"])
            .check("status IN ('ACTIVE', 'SUSPENDED', 'INACTIVE')")
            .check("total_spent_micros BETWEEN 0 AND 1000000000000000")
            .check("credit_limit_micros BETWEEN 0 AND 1000000000000000")
            .check(
                "is_sub_account OR (credit_limit_micros IS NULL \
                 AND total_spent_micros = 0 AND status = 'ACTIVE' AND external_id IS NULL)",
            )
            .create(manager)
            .await?;
        let one_main = index("account_one_main_per_team", "account", &["team_id"]).unique();
        one_main.only("NOT is_sub_account").create(manager).await?;
        let external_id = index("account_external_id", "account", &["team_id", "external_id"]);
        external_id.unique().create(manager).await?;
        index("account_of_team", "account", &["team_id", "id"]).create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "account").await?;
        drop_table(manager, "team").await
    }
}
