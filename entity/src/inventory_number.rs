//! A phone number in the operator's inventory. All teams buy from the same inventory.

use sea_orm::{entity::prelude::*, sea_query::SimpleExpr};

use crate::{
    message::Channel,
    phone_number::{PhoneNumberType, capabilities},
};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "inventory_number")]
pub struct Model {
    /// The phone number in E.164 format.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub number: String,
    /// The country code (ISO 3166-1 alpha-2).
    #[sea_orm(column_type = "Text")]
    pub country: String,
    pub number_type: PhoneNumberType,
    pub has_sms: bool,
    pub has_whatsapp: bool,
    /// The one-time price and the monthly price that the next buyer will pay.
    pub upfront_price_micros: i64,
    pub monthly_price_micros: i64,
    /// Whether the number was withdrawn from sale. A withdrawn number cannot be bought. An account
    /// that already has the number keeps it.
    pub is_withdrawn: bool,
    /// The id of the `phone_number` row of the account that has the number; `None` if no account
    /// has the number.
    pub phone_number_id: Option<Uuid>,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Returns the channels that the number can be used on.
    pub fn capabilities(&self) -> Vec<Channel> {
        capabilities(self.has_sms, self.has_whatsapp)
    }
}

impl Entity {
    /// Matches numbers that can be bought. The SQL is written as in the partial index. Otherwise
    /// the databases would not use that index.
    pub fn is_available() -> SimpleExpr {
        Expr::cust("phone_number_id IS NULL AND NOT is_withdrawn")
    }
}
