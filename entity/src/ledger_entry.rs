//! An entry in the ledger: one change to a team's balance. The table is append-only: the database
//! refuses updates and deletes.

use sea_orm::{entity::prelude::*, sea_query::SimpleExpr};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ledger_entry")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    /// The account that was charged or refunded; `None` for top-ups and adjustments.
    pub account_id: Option<Uuid>,
    pub message_id: Option<Uuid>,
    /// For a fee, the phone number and the month that the fee pays for. Month 0 means the upfront
    /// price.
    pub phone_number_id: Option<Uuid>,
    pub phone_number_month: Option<i32>,
    pub kind: LedgerKind,
    /// The change to the balance; negative if the balance decreases.
    pub amount_micros: i64,
    pub balance_after_micros: i64,
    #[sea_orm(column_type = "Text", nullable)]
    pub idempotency_key: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub note: Option<String>,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

crate::api_enum! {
    /// Kind of a ledger entry.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum LedgerKind {
        /// The balance was topped up.
        TopUp,
        /// A message was accepted and charged.
        Charge,
        /// A message that became FAILED, EXPIRED or CANCELED was refunded.
        Refund,
        /// The upfront price or a monthly price of a phone number was charged.
        NumberFee,
        /// An operator corrected the balance.
        Adjustment,
    }
}

impl Entity {
    /// Selects the entries of a team.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// Matches entries other than charges for messages. The SQL is written as in the partial
    /// indexes. Otherwise the databases would not use those indexes. The indexes are small, because
    /// most entries are charges.
    pub fn is_not_a_charge() -> SimpleExpr {
        Expr::cust("kind <> 'CHARGE'")
    }

    /// Selects the entries of one account.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }
}
