//! A sender of an account: the identities from which messages are sent, with a maximum of one per channel.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sender")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    pub account_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// Exactly one sender of an account is the default.
    pub is_default: bool,
    /// A number of the account. No two senders have the same number.
    pub phone_number_id: Option<Uuid>,
    /// Normalized like a message's recipient.
    #[sea_orm(column_type = "Text", nullable)]
    pub email: Option<String>,
    /// The display name shown before the address in the From header.
    #[sea_orm(column_type = "Text", nullable)]
    pub email_name: Option<String>,
    /// E.164.
    #[sea_orm(column_type = "Text", nullable)]
    pub whatsapp: Option<String>,
    /// A bot's username with its `@`.
    #[sea_orm(column_type = "Text", nullable)]
    pub telegram: Option<String>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// The senders of one account, in both environments.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }
}
