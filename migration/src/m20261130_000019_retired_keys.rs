//! A key records whether its account was deactivated after the key was created. Waiting messages that were
//! accepted with such a key are canceled. Messages that were accepted after a reactivation are not, even
//! if clocks differ.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut is_retired = ColumnDef::new("is_retired");
        // A retired key is always revoked.
        is_retired
            .boolean()
            .not_null()
            .default(false)
            .check(Expr::cust("NOT is_retired OR revoked_at IS NOT NULL"));
        let add = Table::alter().table("api_key").add_column(is_retired).to_owned();
        manager.alter_table(add).await?;
        // Deactivations that are still being applied. A key that was created since has a greater id than
        // the newest message of that time.
        let retire = "UPDATE api_key SET is_retired = TRUE WHERE revoked_at IS NOT NULL AND EXISTS ( \
                      SELECT 1 FROM account a WHERE a.id = api_key.account_id AND a.cancel_until >= api_key.id)";
        manager.get_connection().execute_unprepared(retire).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Table::alter().table("api_key").drop_column("is_retired").to_owned();
        manager.alter_table(drop).await
    }
}
