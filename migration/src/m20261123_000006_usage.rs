//! Daily totals for each account's LIVE messages, by channel and country.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        table("usage_day")
            .required(Uuid, &["account_id"])
            .required(Date, &["day"])
            .required(Text, &["channel", "country"])
            .required(Uuid, &["team_id"])
            .required(BigInteger, &["messages", "segments", "delivered", "failed"])
            .required(BigInteger, &["charged_micros", "refunded_micros"])
            .required(Timestamp, &["updated_at"])
            .primary_key(&["account_id", "day", "channel", "country"])
            .references(&["account_id"], "account", &["id"])
            .references(&["team_id"], "team", &["id"])
            .check("messages >= 0 AND segments >= 0")
            .check("delivered >= 0 AND failed >= 0")
            .check("charged_micros >= 0 AND refunded_micros >= 0")
            .create(manager)
            .await?;
        index("usage_day_of_team", "usage_day", &["team_id", "day"]).create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_table(manager, "usage_day").await
    }
}
