//! A phone number in the operator's inventory, which all teams share.

use sea_orm::{entity::prelude::*, sea_query::SimpleExpr};

use crate::{
    message::Channel,
    phone_number::{PhoneNumberType, capabilities},
};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inventory_number")]
pub struct Model {
    /// E.164.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub number: String,
    /// ISO 3166-1 alpha-2.
    #[sea_orm(column_type = "Text")]
    pub country: String,
    pub number_type: PhoneNumberType,
    pub has_sms: bool,
    pub has_whatsapp: bool,
    /// The one-time and monthly prices that the next buyer will pay.
    pub upfront_price_micros: i64,
    pub monthly_price_micros: i64,
    /// Withdrawn numbers cannot be bought. An account that has the number keeps it.
    pub is_withdrawn: bool,
    /// The `phone_number` of the account that has it; `None` if no account has it.
    pub phone_number_id: Option<Uuid>,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// The channels that the number can be used on.
    pub fn capabilities(&self) -> Vec<Channel> {
        capabilities(self.has_sms, self.has_whatsapp)
    }
}

impl Entity {
    /// Whether the number can be bought. The text matches the partial index, so that both databases use
    /// it.
    pub fn is_available() -> SimpleExpr {
        Expr::cust("phone_number_id IS NULL AND NOT is_withdrawn")
    }
}
