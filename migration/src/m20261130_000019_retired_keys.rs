//! Adds a column that records whether a key's account was deactivated after the key had been created. Waiting messages
//! that were accepted with such a key are canceled. Messages that were accepted after a reactivation are not canceled,
//! even if the clocks of several machines differ.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_is_retired(manager).await?;
        // Retires keys of accounts whose deactivation is still being applied. A key that was created after the
        // deactivation has a greater id than the newest message from that time, so the key is not retired.
        let retire = "UPDATE api_key SET is_retired = TRUE WHERE revoked_at IS NOT NULL AND EXISTS ( \
                      SELECT 1 FROM account a WHERE a.id = api_key.account_id AND a.cancel_until >= api_key.id)";
        run(manager, &[retire]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_columns(manager, "api_key", &["is_retired"]).await
    }
}

pub async fn add_is_retired(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let mut is_retired = column(Boolean, "is_retired");
    // A retired key is always revoked.
    let is_revoked = Expr::cust("NOT is_retired OR revoked_at IS NOT NULL");
    is_retired.not_null().default(false).check(is_revoked);
    add_column(manager, "api_key", &mut is_retired).await
}
