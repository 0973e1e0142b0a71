//! A template of an account: the content of a message for each channel, with variables.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "template")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    pub account_id: Uuid,
    #[sea_orm(column_type = "Text")]
    pub name: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub sms_text: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub email_subject: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub email_text: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub email_html: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub whatsapp_text: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub telegram_text: Option<String>,
    /// The declared variables in the order of their declaration: a JSON array as text.
    #[sea_orm(column_type = "Text")]
    pub variables: String,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the templates of one account. Both environments share the templates.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }
}
