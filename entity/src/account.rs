//! An account of a team: its one main account, or one of its sub-accounts.

use sea_orm::{
    DbErr, FromQueryResult, QueryResult, RuntimeErr, entity::prelude::*, sea_query::SimpleExpr,
    sqlx::Row as _,
};

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
    /// `None`: no limit. Always `None` on a main account.
    pub credit_limit_micros: Option<i64>,
    /// Charges less refunds. Always 0 on a main account, which has no total.
    pub total_spent_micros: i64,
    #[sea_orm(column_type = "Text", nullable)]
    pub external_id: Option<String>,
    /// A JSON object as text, for PostgreSQL's own types would change or refuse its numbers.
    #[sea_orm(column_type = "Text", nullable)]
    pub metadata: Option<String>,
    pub team_balance_visible: bool,
    /// Lower-cased name, line feed, lower-cased external id: what `search` looks in and what the
    /// order by name sorts by, so that both are the same on every database.
    #[sea_orm(column_type = "Text")]
    pub search_text: String,
    /// Quiet hours: the minutes of the day at which they begin and end by the clock of
    /// `quiet_time_zone` (IANA); all three or none.
    pub quiet_from_minute: Option<i32>,
    pub quiet_to_minute: Option<i32>,
    #[sea_orm(column_type = "Text", nullable)]
    pub quiet_time_zone: Option<String>,
    /// Since the account was deactivated: its messages that wait and were accepted by keys that are retired are to be
    /// canceled. The newest message that waited then.
    pub cancel_until: Option<Uuid>,
    /// Raised by each deactivation, which retires the keys that are there.
    pub key_generation: i64,
    /// Since its quiet hours were set: messages with higher ids than this one that earlier quiet hours have
    /// put off are to be judged again.
    pub quiet_check_after: Option<Uuid>,
    /// TEST messages that are stored.
    pub test_message_count: i64,
    /// The sum of their `word_bytes`.
    pub test_message_bytes: i64,
    pub created_at: DateTimeUtc,
    pub updated_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

crate::api_enum! {
    /// What an account may do.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum AccountStatus {
        /// It may send.
        Active,
        /// Sends are refused; keys are kept and reading works. Accepted messages wait for delivery.
        Suspended,
        /// All keys are revoked; data and ledger are kept. Messages that waited were canceled and
        /// refunded.
        Inactive,
    }
}

impl Entity {
    /// All accounts of a team, the main account among them.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// A change of the account has left something to be done with its messages. Written as the partial
    /// index `account_backlog` has it, so that both databases use that.
    pub fn has_backlog() -> SimpleExpr {
        Expr::cust("(cancel_until IS NOT NULL OR quiet_check_after IS NOT NULL)")
    }
}

/// A row of [`Model`]'s columns in their order, read cell by cell by place. sea-orm looks up a name for each
/// cell and writes a text for each NULL, which is a tenth of what a page of 50 costs.
pub struct ListedRow(Model);

impl From<ListedRow> for Model {
    fn from(row: ListedRow) -> Self {
        row.0
    }
}

impl FromQueryResult for ListedRow {
    fn from_query_result(result: &QueryResult, prefix: &str) -> Result<Self, DbErr> {
        // The two databases have row types of their own, with the same cells.
        macro_rules! read {
            ($row:expr) => {{
                let (row, mut place) = ($row, 0..);
                let mut next = || place.next().expect("numbers do not end");
                let status = |text: String| AccountStatus::try_from_value(&text);
                Model {
                    id: row.try_get(next()).map_err(unread)?,
                    team_id: row.try_get(next()).map_err(unread)?,
                    is_sub_account: row.try_get(next()).map_err(unread)?,
                    name: row.try_get(next()).map_err(unread)?,
                    status: row.try_get(next()).map_err(unread).and_then(status)?,
                    status_reason: row.try_get(next()).map_err(unread)?,
                    status_changed_at: row.try_get(next()).map_err(unread)?,
                    credit_limit_micros: row.try_get(next()).map_err(unread)?,
                    total_spent_micros: row.try_get(next()).map_err(unread)?,
                    external_id: row.try_get(next()).map_err(unread)?,
                    metadata: row.try_get(next()).map_err(unread)?,
                    team_balance_visible: row.try_get(next()).map_err(unread)?,
                    search_text: row.try_get(next()).map_err(unread)?,
                    quiet_from_minute: row.try_get(next()).map_err(unread)?,
                    quiet_to_minute: row.try_get(next()).map_err(unread)?,
                    quiet_time_zone: row.try_get(next()).map_err(unread)?,
                    cancel_until: row.try_get(next()).map_err(unread)?,
                    key_generation: row.try_get(next()).map_err(unread)?,
                    quiet_check_after: row.try_get(next()).map_err(unread)?,
                    test_message_count: row.try_get(next()).map_err(unread)?,
                    test_message_bytes: row.try_get(next()).map_err(unread)?,
                    created_at: row.try_get(next()).map_err(unread)?,
                    updated_at: row.try_get(next()).map_err(unread)?,
                }
            }};
        }
        if let Some(row) = result.try_as_pg_row() {
            Ok(Self(read!(row)))
        } else if let Some(row) = result.try_as_sqlite_row() {
            Ok(Self(read!(row)))
        } else {
            Model::from_query_result(result, prefix).map(Self)
        }
    }
}

fn unread(error: sea_orm::sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}
