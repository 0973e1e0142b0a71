//! A team counts its sub-accounts, so that the limit on their number can be checked without reading them.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut count = column(BigInteger, "sub_account_count");
        count.not_null().default(0).check(Expr::cust("sub_account_count >= 0"));
        add_column(manager, "team", &mut count).await?;
        let fill = "UPDATE team SET sub_account_count = (SELECT COUNT(*) FROM account a \
                    WHERE a.team_id = team.id AND a.is_sub_account)";
        run(manager, &[fill]).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_columns(manager, "team", &["sub_account_count"]).await
    }
}
