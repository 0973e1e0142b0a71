//! A contact records that it is being erased or merged. Erasing and merging have several steps. Between these steps,
//! other changes to the contact are refused.

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
