//! One call that changed something, or was refused. Append-only: the database refuses deletes, and every update
//! but of a refusal's count upwards.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_entry")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The team that it concerns; `None` where it concerns none, or the whole server.
    pub team_id: Option<Uuid>,
    /// The account that it concerns; `None` where it concerns the team as a whole.
    pub account_id: Option<Uuid>,
    /// Whether it is a sub-account's work with what it owns, which its team does not see (R3).
    pub is_private: bool,
    pub actor: AuditActor,
    /// `None` exactly on the command line.
    pub key_id: Option<Uuid>,
    pub action: AuditAction,
    pub outcome: AuditOutcome,
    /// Why it was refused, as the API calls it; `None` exactly if it was not.
    #[sea_orm(column_type = "Text", nullable)]
    pub code: Option<String>,
    /// What was changed, or was to be.
    pub target_id: Option<Uuid>,
    /// A JSON object as text of the settings that changed, as they were.
    #[sea_orm(column_type = "Text", nullable)]
    pub before: Option<String>,
    /// The same, as they were from then on.
    #[sea_orm(column_type = "Text", nullable)]
    pub after: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub request_id: Option<String>,
    /// Refused calls that the entry stands for; 1 of every other.
    pub count: i32,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// Who acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuditActor {
    CommandLine,
    Operator,
    MainAccount,
    SubAccount,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuditOutcome {
    Done,
    Replayed,
    Refused,
}

/// What was done: the mutation of the same name, or what only the command line can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuditAction {
    SetQuietHours,
    CreateContact,
    UpdateContact,
    DeleteContact,
    AddContactAddress,
    UpdateContactAddress,
    RemoveContactAddress,
    MergeContacts,
    ImportContacts,
    AddOptOut,
    ImportOptOuts,
    RemoveOptOut,
    PurchasePhoneNumber,
    UpdatePhoneNumber,
    ReleasePhoneNumber,
    TransferPhoneNumber,
    CreateSender,
    UpdateSender,
    DeleteSender,
    CreateTemplate,
    UpdateTemplate,
    DeleteTemplate,
    CreateSubAccount,
    UpdateSubAccount,
    SuspendSubAccount,
    ReactivateSubAccount,
    DeactivateSubAccount,
    CreateApiKey,
    UpdateApiKey,
    RotateApiKey,
    RevokeApiKey,
    CreateTeam,
    TopUpTeam,
    AdjustTeamBalance,
    ImportPrices,
    ImportPhoneNumbers,
    WithdrawPhoneNumber,
}

impl Entity {
    /// What concerns a team, private work of its sub-accounts too.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// What concerns one account.
    pub fn of_account(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }

    /// What the main account of its team may see of what concerns one account.
    pub fn seen_of_account(account_id: Uuid) -> Select<Self> {
        Self::of_account(account_id).filter(Column::IsPrivate.eq(false))
    }

    /// What a team's main account may see of what concerns the team.
    pub fn seen_by_team(team_id: Uuid) -> Select<Self> {
        Self::of_team(team_id).filter(Column::IsPrivate.eq(false))
    }
}
