//! The price of a message by channel and dial prefix. The longest matching prefix applies. All teams
//! share the prices.

use sea_orm::entity::prelude::*;

use crate::message::Channel;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "price")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub channel: Channel,
    /// Leading digits of the phone number without `+`; empty matches every destination.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub prefix: String,
    /// ISO 3166-1 alpha-2. Informational: prices do not depend on it.
    #[sea_orm(column_type = "Text", nullable)]
    pub country: Option<String>,
    /// The price per segment for SMS, and per message for other channels.
    pub price_micros: i64,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
