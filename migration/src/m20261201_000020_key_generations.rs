//! An account counts its deactivations, and a key stores that count from its creation: keys of an earlier
//! generation are retired. A deactivation therefore updates no keys that were revoked before. An index
//! contains the keys of an account that are not revoked.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

const INDEX: &str = "api_key_not_revoked";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [("account", "key_generation"), ("api_key", "generation")] {
            let mut generation = ColumnDef::new(column);
            generation
                .big_integer()
                .not_null()
                .default(0)
                .check(Expr::cust(format!("{column} >= 0")));
            let add = Table::alter().table(table).add_column(generation).to_owned();
            manager.alter_table(add).await?;
        }
        for statement in [
            "UPDATE account SET key_generation = 1 WHERE EXISTS ( \
             SELECT 1 FROM api_key k WHERE k.account_id = account.id AND k.is_retired)",
            "UPDATE api_key SET generation = 1 WHERE NOT is_retired AND EXISTS ( \
             SELECT 1 FROM account a WHERE a.id = api_key.account_id AND a.key_generation = 1)",
        ] {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        let drop = Table::alter().table("api_key").drop_column("is_retired").to_owned();
        manager.alter_table(drop).await?;
        let mut index = Index::create();
        index.name(INDEX).table("api_key").col("account_id").col("id");
        index.and_where(Expr::cust("revoked_at IS NULL"));
        manager.create_index(index).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_index(Index::drop().name(INDEX).table("api_key").to_owned()).await?;
        let mut is_retired = ColumnDef::new("is_retired");
        is_retired
            .boolean()
            .not_null()
            .default(false)
            .check(Expr::cust("NOT is_retired OR revoked_at IS NOT NULL"));
        let add = Table::alter().table("api_key").add_column(is_retired).to_owned();
        manager.alter_table(add).await?;
        let retire = "UPDATE api_key SET is_retired = TRUE WHERE EXISTS ( SELECT 1 FROM account a \
                      WHERE a.id = api_key.account_id AND a.key_generation > api_key.generation)";
        manager.get_connection().execute_unprepared(retire).await?;
        for (table, column) in [("api_key", "generation"), ("account", "key_generation")] {
            manager.alter_table(Table::alter().table(table).drop_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
