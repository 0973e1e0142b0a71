//! A team counts its sub-accounts, so that their limit is checked without reading them.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut count = ColumnDef::new("sub_account_count");
        count.big_integer().not_null().default(0).check(Expr::cust("sub_account_count >= 0"));
        let add = Table::alter().table("team").add_column(count).to_owned();
        manager.alter_table(add).await?;
        let fill = "UPDATE team SET sub_account_count = (SELECT COUNT(*) FROM account a \
                    WHERE a.team_id = team.id AND a.is_sub_account)";
        manager.get_connection().execute_unprepared(fill).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Table::alter().table("team").drop_column("sub_account_count").to_owned();
        manager.alter_table(drop).await
    }
}
