//! An API key: its hash and details that help people recognize it, never the key itself.

use sea_orm::{entity::prelude::*, sea_query::SimpleExpr};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// `None` only for operator keys, which belong to no team.
    pub team_id: Option<Uuid>,
    /// `None` only for operator keys.
    pub account_id: Option<Uuid>,
    pub role: Role,
    #[sea_orm(column_type = "Text")]
    pub name: String,
    /// SHA-256 of the key.
    pub hash: Vec<u8>,
    #[sea_orm(column_type = "Text")]
    pub prefix: String,
    #[sea_orm(column_type = "Text")]
    pub last_four: String,
    pub environment: Environment,
    pub created_at: DateTimeUtc,
    pub expires_at: Option<DateTimeUtc>,
    /// Set when the key was rotated with a grace period: the key expires then, or at `expires_at` if
    /// that is sooner.
    pub grace_ends_at: Option<DateTimeUtc>,
    pub revoked_at: Option<DateTimeUtc>,
    pub last_used_at: Option<DateTimeUtc>,
    /// The account's `key_generation` when the key was created. If it is greater now, the key is retired,
    /// and messages that were accepted with it and still wait are canceled.
    pub generation: i64,
}

impl ActiveModelBehavior for ActiveModel {}

crate::api_enum! {
    /// Role of an API key.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum Role {
        /// A key of an operator of the server. It can create teams and top them up, and belongs to
        /// no team.
        Operator,
        /// A key of a team's main account. It can send messages and manage the sub-accounts.
        MainAccount,
        /// A key of a sub-account. It can send messages, and has access only to the data of the
        /// sub-account.
        SubAccount,
    }

    /// Environment of an API key and of the messages sent with it.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum Environment {
        /// Messages are charged and delivered.
        Live,
        /// Messages are validated, but cost nothing, are not delivered and do not count in usage.
        /// Each is deleted 7 days after it was accepted or after its sendAt, whichever is later. An
        /// account can store a maximum of 20,000 TEST messages and 64 MiB of their text, subjects,
        /// HTML and metadata.
        Test,
    }
}

impl Entity {
    /// The keys of one account, including revoked ones.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }

    /// Whether a key is not revoked. The text matches the partial index `api_key_not_revoked`, so that
    /// both databases use it.
    pub fn is_not_revoked() -> SimpleExpr {
        Expr::cust("revoked_at IS NULL")
    }

    /// The keys of all accounts of a team, including revoked ones.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// The keys of the server's operators.
    pub fn of_operators() -> Select<Self> {
        Self::find().filter(Column::TeamId.is_null())
    }
}
