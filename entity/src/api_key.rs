//! An API key. The row contains the hash of the key, and details by which people recognize the key.
//! It never contains the key itself.

use sea_orm::{entity::prelude::*, sea_query::SimpleExpr};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The team of the key. `None` only for operator keys, because operators belong to no team.
    pub team_id: Option<Uuid>,
    /// The account of the key. `None` only for operator keys.
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
    /// The end of the grace period after a rotation; `None` if there was no rotation with a grace
    /// period. The key expires at this time, or at `expires_at` if that is earlier.
    pub grace_ends_at: Option<DateTimeUtc>,
    pub revoked_at: Option<DateTimeUtc>,
    pub last_used_at: Option<DateTimeUtc>,
    /// The account's `key_generation` when the key was created. If the account's generation is
    /// greater now, the key is retired, and waiting messages that were accepted with the key are
    /// canceled.
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
    /// Selects the keys of one account, including revoked keys.
    pub fn owned_by(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }

    /// Matches keys that are not revoked. The SQL is written as in the partial index
    /// `api_key_not_revoked`. Otherwise the databases would not use that index.
    pub fn is_not_revoked() -> SimpleExpr {
        Expr::cust("revoked_at IS NULL")
    }

    /// Selects the keys of all accounts of a team, including revoked keys.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// Selects the keys of the server's operators.
    pub fn of_operators() -> Select<Self> {
        Self::find().filter(Column::TeamId.is_null())
    }
}
