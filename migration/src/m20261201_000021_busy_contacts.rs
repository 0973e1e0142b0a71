//! A contact records that it is being erased or merged. These changes have several steps, between which other changes
//! to the contact are refused.

use crate::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_column(manager, "contact", &mut column(Uuid, "busy_with")).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_columns(manager, "contact", &["busy_with"]).await
    }
}
