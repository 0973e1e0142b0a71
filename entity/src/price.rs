//! The price of a message, by channel and dial prefix. The row with the longest matching prefix
//! applies. All teams have the same prices.

use sea_orm::entity::prelude::*;

use crate::message::Channel;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "price")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub channel: Channel,
    /// Leading digits of the phone number, without `+`. An empty prefix matches every destination.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub prefix: String,
    /// The country (ISO 3166-1 alpha-2). It is only informational: prices do not depend on the
    /// country.
    #[sea_orm(column_type = "Text", nullable)]
    pub country: Option<String>,
    /// The price per segment for SMS, and per message for other channels.
    pub price_micros: i64,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
