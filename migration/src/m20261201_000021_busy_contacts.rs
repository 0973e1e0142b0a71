//! A contact records that it is being erased or merged. These changes have several steps, between which
//! the contact must not be changed otherwise.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut busy_with = ColumnDef::new("busy_with");
        busy_with.uuid();
        manager.alter_table(Table::alter().table("contact").add_column(busy_with).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .alter_table(Table::alter().table("contact").drop_column("busy_with").to_owned())
            .await
    }
}
