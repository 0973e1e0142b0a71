//! A phone number that an account has, or had until it was released. Where it came from, and goes
//! back to, is the operator's inventory (`inventory_number`).

use sea_orm::{entity::prelude::*, sea_query::SimpleExpr};

use crate::message::Channel;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "phone_number")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    /// Whose it is; a transfer within the team changes that.
    pub account_id: Uuid,
    /// The account that bought it, to which the idempotency key belongs.
    pub buyer_id: Uuid,
    /// E.164. It may be of several rows, of which one at most is not RELEASED.
    #[sea_orm(column_type = "Text")]
    pub number: String,
    /// ISO 3166-1 alpha-2.
    #[sea_orm(column_type = "Text")]
    pub country: String,
    pub number_type: PhoneNumberType,
    pub has_sms: bool,
    pub has_whatsapp: bool,
    /// What its account calls it.
    #[sea_orm(column_type = "Text", nullable)]
    pub name: Option<String>,
    pub status: PhoneNumberStatus,
    /// What it cost once, and what it costs a month, as it was bought.
    pub upfront_price_micros: i64,
    pub monthly_price_micros: i64,
    /// Months that were paid, counted from `created_at`.
    pub months_paid: i32,
    /// When the month after those begins.
    pub renews_at: DateTimeUtc,
    /// When the last of those was charged.
    pub charged_at: DateTimeUtc,
    /// Since when that month could not be paid.
    pub suspended_at: Option<DateTimeUtc>,
    pub released_at: Option<DateTimeUtc>,
    #[sea_orm(column_type = "Text", nullable)]
    pub idempotency_key: Option<String>,
    /// SHA-256 of the normalised input: tells a repeat from a conflict.
    pub input_hash: Vec<u8>,
    /// When it was bought.
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

crate::api_enum! {
    /// What kind of number it is in its country.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum PhoneNumberType {
        /// Of a place.
        Local,
        /// Of the whole country, and of no place.
        National,
        /// Of a mobile network.
        Mobile,
        /// Free for whoever calls it.
        TollFree,
    }

    /// Whether a phone number can be used.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum PhoneNumberStatus {
        /// Paid for.
        Active,
        /// Its month could not be paid. It is charged, and ACTIVE again, as soon as the balance allows
        /// it, until releasesAt.
        Suspended,
        /// The account has it no more.
        Released,
    }
}

impl Model {
    /// The channels that the number can be used on.
    pub fn capabilities(&self) -> Vec<Channel> {
        capabilities(self.has_sms, self.has_whatsapp)
    }
}

/// The channels that these columns stand for.
pub fn capabilities(has_sms: bool, has_whatsapp: bool) -> Vec<Channel> {
    [(has_sms, Channel::Sms), (has_whatsapp, Channel::Whatsapp)]
        .into_iter()
        .filter_map(|(has_it, channel)| has_it.then_some(channel))
        .collect()
}

impl Entity {
    /// The numbers that one account has, and those that it had until they were released.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }

    /// All numbers of a team's accounts, released ones too.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// Not released. Written as the partial indexes have it, so that both databases use them.
    pub fn is_held() -> SimpleExpr {
        Expr::cust("phone_number.status <> 'RELEASED'")
    }
}
