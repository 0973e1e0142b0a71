//! An entry of the audit log: a call that changed something, or refused calls. Append-only: the database
//! refuses deletes, and every update except an increment of a refusal's count.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_entry")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The team that the call concerned; `None` if it concerned no team, or the whole server.
    pub team_id: Option<Uuid>,
    /// The account that the call concerned; `None` if it concerned the team as a whole.
    pub account_id: Option<Uuid>,
    /// Whether the call concerned data that only the sub-account itself may see.
    pub is_private: bool,
    pub actor: AuditActor,
    /// `None` only for the command line.
    pub key_id: Option<Uuid>,
    pub action: AuditAction,
    pub outcome: AuditOutcome,
    /// The API's error code of a refused call; `None` for other outcomes.
    #[sea_orm(column_type = "Text", nullable)]
    pub code: Option<String>,
    /// The id of the object that the call changed, or would have changed.
    pub target_id: Option<Uuid>,
    /// The previous values of the settings that changed: a JSON object as text.
    #[sea_orm(column_type = "Text", nullable)]
    pub before: Option<String>,
    /// The new values of the settings that changed: a JSON object as text.
    #[sea_orm(column_type = "Text", nullable)]
    pub after: Option<String>,
    #[sea_orm(column_type = "Text", nullable)]
    pub request_id: Option<String>,
    /// Number of refused calls that the entry represents; 1 for other outcomes.
    pub count: i32,
    pub created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}

/// The kind of caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuditActor {
    CommandLine,
    Operator,
    MainAccount,
    SubAccount,
}

/// The outcome of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum)]
#[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuditOutcome {
    Done,
    Replayed,
    Refused,
}

/// The action: the mutation of the same name, or an action of the command line.
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
    /// The entries of a team, including private ones of its sub-accounts.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// The entries of one account, including private ones.
    pub fn of_account(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }

    /// The entries of one account that the main account of its team may see.
    pub fn seen_of_account(account_id: Uuid) -> Select<Self> {
        Self::of_account(account_id).filter(Column::IsPrivate.eq(false))
    }

    /// The entries of a team that its main account may see.
    pub fn seen_by_team(team_id: Uuid) -> Select<Self> {
        Self::of_team(team_id).filter(Column::IsPrivate.eq(false))
    }
}
