//! An address of a contact. Within an account, an address belongs to only one contact. On each
//! channel, one of the contact's addresses is the primary address.

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
    /// The address, normalized like the recipient of a message.
    #[sea_orm(column_type = "Text")]
    pub address: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub label: Option<String>,
    pub is_primary: bool,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the addresses of all contacts of one account.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }
}
