//! A sender of an account: the identities from which messages are sent. A sender has at most one
//! identity per channel.

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
    /// Whether this is the default sender. Exactly one sender of an account is the default sender.
    pub is_default: bool,
    /// A phone number of the account. No other sender has the same number.
    pub phone_number_id: Option<Uuid>,
    /// The e-mail address, normalized like the recipient of a message.
    #[sea_orm(column_type = "Text", nullable)]
    pub email: Option<String>,
    /// The display name shown before the address in the From header.
    #[sea_orm(column_type = "Text", nullable)]
    pub email_name: Option<String>,
    /// The WhatsApp number in E.164 format.
    #[sea_orm(column_type = "Text", nullable)]
    pub whatsapp: Option<String>,
    /// The username of a Telegram bot, including the `@`.
    #[sea_orm(column_type = "Text", nullable)]
    pub telegram: Option<String>,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the senders of one account. Both environments share the senders.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }
}
