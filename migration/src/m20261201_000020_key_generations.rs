//! An account counts its deactivations, and a key stores this count at the time of its creation. A key is retired if
//! its count is lower than that of the account. A deactivation therefore does not have to update keys that were revoked
//! earlier. A new index contains the keys of an account that have not been revoked.

use crate::{m20261130_000019_retired_keys::add_is_retired, prelude::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

const INDEX: &str = "api_key_not_revoked";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, name) in [("account", "key_generation"), ("api_key", "generation")] {
            let mut generation = column(BigInteger, name);
            generation.not_null().default(0).check(Expr::cust(format!("{name} >= 0")));
            add_column(manager, table, &mut generation).await?;
        }
        let statements = [
            "UPDATE account SET key_generation = 1 WHERE EXISTS ( \
             SELECT 1 FROM api_key k WHERE k.account_id = account.id AND k.is_retired)",
            "UPDATE api_key SET generation = 1 WHERE NOT is_retired AND EXISTS ( \
             SELECT 1 FROM account a WHERE a.id = api_key.account_id AND a.key_generation = 1)",
        ];
        run(manager, &statements).await?;
        drop_columns(manager, "api_key", &["is_retired"]).await?;
        let index = index(INDEX, "api_key", &["account_id", "id"]);
        index.only("revoked_at IS NULL").create(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_index(manager, "api_key", INDEX).await?;
        add_is_retired(manager).await?;
        let retire = "UPDATE api_key SET is_retired = TRUE WHERE EXISTS ( SELECT 1 FROM account a \
                      WHERE a.id = api_key.account_id AND a.key_generation > api_key.generation)";
        run(manager, &[retire]).await?;
        drop_columns(manager, "api_key", &["generation"]).await?;
        drop_columns(manager, "account", &["key_generation"]).await
    }
}
