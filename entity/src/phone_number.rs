//! A phone number that an account has, or had until the number was released. The number comes from
//! the operator's inventory (`inventory_number`) and returns to the inventory when it is released.

use sea_orm::{entity::prelude::*, sea_query::SimpleExpr};

use crate::message::Channel;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "phone_number")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    /// The account that has the number. A transfer within the team changes this field.
    pub account_id: Uuid,
    /// The account that bought the number. The idempotency key belongs to this account.
    pub buyer_id: Uuid,
    /// The number in E.164 format. Several rows can have the same number, but at most one of these
    /// rows is not RELEASED.
    #[sea_orm(column_type = "Text")]
    pub number: String,
    /// The country code (ISO 3166-1 alpha-2).
    #[sea_orm(column_type = "Text")]
    pub country: String,
    pub number_type: PhoneNumberType,
    pub has_sms: bool,
    pub has_whatsapp: bool,
    /// The name that the account gave to the number.
    #[sea_orm(column_type = "Text", nullable)]
    pub name: Option<String>,
    pub status: PhoneNumberStatus,
    /// The one-time price and the monthly price when the number was bought.
    pub upfront_price_micros: i64,
    pub monthly_price_micros: i64,
    /// Number of paid months since `created_at`.
    pub months_paid: i32,
    /// When the first unpaid month begins.
    pub renews_at: DateTimeUtc,
    /// When the last paid month was charged.
    pub charged_at: DateTimeUtc,
    /// When the number was suspended because the month from `renews_at` could not be paid.
    pub suspended_at: Option<DateTimeUtc>,
    pub released_at: Option<DateTimeUtc>,
    #[sea_orm(column_type = "Text", nullable)]
    pub idempotency_key: Option<String>,
    /// SHA-256 of the normalized input. A purchase with the same idempotency key is a retry only if
    /// its hash is the same.
    pub input_hash: Vec<u8>,
    /// When the number was bought.
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

crate::api_enum! {
    /// Type of a phone number.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum PhoneNumberType {
        /// Number that belongs to a city or region.
        Local,
        /// Number that belongs to the whole country, not to a city or region.
        National,
        /// Number that belongs to a mobile network.
        Mobile,
        /// Number that callers can call free of charge.
        TollFree,
    }

    /// Status of a phone number.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum PhoneNumberStatus {
        /// The number is paid for and can be used.
        Active,
        /// The monthly price could not be charged, and the number cannot be used. As soon as the
        /// balance is sufficient, the price is charged and the number becomes ACTIVE again. If that
        /// does not happen before releasesAt, the number is released.
        Suspended,
        /// The number no longer belongs to the account.
        Released,
    }
}

impl Model {
    /// Returns the channels that the number can be used on.
    pub fn capabilities(&self) -> Vec<Channel> {
        capabilities(self.has_sms, self.has_whatsapp)
    }
}

/// Returns the channels that these two columns allow.
pub fn capabilities(has_sms: bool, has_whatsapp: bool) -> Vec<Channel> {
    [(has_sms, Channel::Sms), (has_whatsapp, Channel::Whatsapp)]
        .into_iter()
        .filter_map(|(has_it, channel)| has_it.then_some(channel))
        .collect()
}

impl Entity {
    /// Selects the numbers of one account, including released numbers.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }

    /// Selects the numbers of all accounts of a team, including released numbers.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// Matches numbers that are not released. The SQL is written as in the partial indexes.
    /// Otherwise the databases would not use those indexes.
    pub fn is_held() -> SimpleExpr {
        Expr::cust("phone_number.status <> 'RELEASED'")
    }
}
