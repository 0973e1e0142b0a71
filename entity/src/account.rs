//! An account of a team: its one main account, or one of its sub-accounts.

use sea_orm::{entity::prelude::*, sea_query::SimpleExpr};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "account")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub team_id: Uuid,
    pub is_sub_account: bool,
    #[sea_orm(column_type = "Text")]
    pub name: String,
    pub status: AccountStatus,
    #[sea_orm(column_type = "Text", nullable)]
    pub status_reason: Option<String>,
    pub status_changed_at: Option<DateTimeUtc>,
    /// `None` means no limit. A main account never has a limit.
    pub credit_limit_micros: Option<i64>,
    /// Charges minus refunds. Always 0 for a main account, because no total is kept for it.
    pub total_spent_micros: i64,
    #[sea_orm(column_type = "Text", nullable)]
    pub external_id: Option<String>,
    /// A JSON object as text, because PostgreSQL's JSON types would change or refuse some numbers.
    #[sea_orm(column_type = "Text", nullable)]
    pub metadata: Option<String>,
    pub team_balance_visible: bool,
    /// The name, a line feed and the external id, all in lower case. The `search` filter and the
    /// order by name use this column. The databases' own conversions to lower case are not used,
    /// because they give different results.
    #[sea_orm(column_type = "Text")]
    pub search_text: String,
    /// The minutes of the day at which quiet hours begin and end, in the time zone
    /// `quiet_time_zone` (an IANA name). Either all three fields are set or none of them is.
    pub quiet_from_minute: Option<i32>,
    pub quiet_to_minute: Option<i32>,
    #[sea_orm(column_type = "Text", nullable)]
    pub quiet_time_zone: Option<String>,
    /// Set after a deactivation, until its messages have been canceled. Waiting messages with ids
    /// up to this id must be canceled if they were accepted with a retired key.
    pub cancel_until: Option<Uuid>,
    /// Incremented by each deactivation. Keys that were created with a lower generation are
    /// retired.
    pub key_generation: i64,
    /// Set after a change to the quiet hours, until all postponed messages have been checked.
    /// Messages after this id that the earlier quiet hours postponed must be scheduled again.
    pub quiet_check_after: Option<Uuid>,
    /// Number of stored TEST messages.
    pub test_message_count: i64,
    /// The total size of the stored TEST messages in bytes: the sum of their `word_bytes`.
    pub test_message_bytes: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Creates an active account without a credit limit.
    pub fn new(id: Uuid, team_id: Uuid, is_sub_account: bool, created_at: DateTimeUtc) -> Self {
        Self {
            id,
            team_id,
            is_sub_account,
            name: String::new(),
            status: AccountStatus::Active,
            status_reason: None,
            status_changed_at: None,
            credit_limit_micros: None,
            total_spent_micros: 0,
            external_id: None,
            metadata: None,
            team_balance_visible: true,
            search_text: String::new(),
            quiet_from_minute: None,
            quiet_to_minute: None,
            quiet_time_zone: None,
            cancel_until: None,
            key_generation: 0,
            quiet_check_after: None,
            test_message_count: 0,
            test_message_bytes: 0,
            created_at,
            updated_at: created_at,
        }
    }
}

crate::api_enum! {
    /// Status of an account.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum AccountStatus {
        /// The account can send messages.
        Active,
        /// The account cannot send messages. Its keys remain valid for reading. Messages that have
        /// already been accepted wait until the account is reactivated.
        Suspended,
        /// The account cannot send messages and all its keys are revoked. Data and ledger entries
        /// are kept. Waiting messages are canceled and refunded.
        Inactive,
    }
}

impl Entity {
    /// Selects all accounts of a team, including the main account.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// Matches accounts with a change that is still to be applied to their messages. The SQL is
    /// written as in the partial index `account_backlog`. Otherwise the databases would not use
    /// that index.
    pub fn has_backlog() -> SimpleExpr {
        Expr::cust("(cancel_until IS NOT NULL OR quiet_check_after IS NOT NULL)")
    }
}
