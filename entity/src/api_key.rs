//! An API key: its hash and what identifies it to a person, never the key itself.

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
    /// What a key may do.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum Role {
        /// Runs the server: makes teams and tops them up. Belongs to no team.
        Operator,
        /// A team's main account: sends, and manages the sub-accounts.
        MainAccount,
        /// A sub-account: sends, and sees itself.
        SubAccount,
    }

    /// Whether a key moves money and reaches people.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum Environment {
        /// Messages are charged and delivered.
        Live,
        /// Messages are checked, cost nothing and are delivered to nobody. They are left out of usage. Each is deleted
        /// 7 days after it was accepted or, if that is later, after its sendAt. An account stores 20,000 of them at
        /// most, and 64 MiB of their texts, subjects, HTML and metadata.
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
