//! An address of a contact. It belongs to one contact of an account. One of a contact's addresses per
//! channel is the primary one.

use sea_orm::entity::prelude::*;

use crate::message::Channel;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_address")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    pub account_id: Uuid,
    pub contact_id: Uuid,
    pub channel: Channel,
    /// Normalized like a message's recipient.
    #[sea_orm(column_type = "Text")]
    pub address: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub label: Option<String>,
    pub is_primary: bool,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The addresses of all contacts of one account.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }
}
