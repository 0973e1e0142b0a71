//! Daily totals of an account's LIVE messages and phone number fees. The totals are updated in the
//! same transaction as the messages and fees.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_day")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub account_id: Uuid,
    /// The UTC day of the counted events.
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: Date,
    /// The channel of the messages; empty for phone number fees.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub channel: String,
    /// The country of the recipients or phone numbers (ISO 3166-1 alpha-2); empty if they have no
    /// country.
    #[sea_orm(primary_key, auto_increment = false, column_type = "Text")]
    pub country: String,
    pub team_id: Uuid,
    pub messages: i64,
    pub segments: i64,
    pub delivered: i64,
    pub failed: i64,
    pub charged_micros: i64,
    pub refunded_micros: i64,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Entity {
    /// Selects the totals of all accounts of a team.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }
}
