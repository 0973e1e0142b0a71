//! One call that changed something, or was refused. Append-only: the database refuses deletes, and every update
//! but of a refusal's count upwards.

use sea_orm::{Iterable as _, entity::prelude::*};

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

crate::api_enum! {
    /// Who acted.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum AuditActor {
        /// Somebody who runs the server, on its command line. There is no key.
        CommandLine,
        /// An operator's key.
        Operator,
        /// A key of the team's main account.
        MainAccount,
        /// A key of a sub-account.
        SubAccount,
    }

    /// What came of a call.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum AuditOutcome {
        /// It was done.
        Done,
        /// It had been done before, under the same idempotencyKey. Nothing was done now.
        Replayed,
        /// It was refused, and nothing was changed.
        Refused,
    }

    /// What was called: the mutation of the same name, or a command.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum AuditAction {
        /// The mutation setQuietHours.
        SetQuietHours,
        /// The mutation createContact.
        CreateContact,
        /// The mutation updateContact.
        UpdateContact,
        /// The mutation deleteContact.
        DeleteContact,
        /// The mutation addContactAddress.
        AddContactAddress,
        /// The mutation updateContactAddress.
        UpdateContactAddress,
        /// The mutation removeContactAddress.
        RemoveContactAddress,
        /// The mutation mergeContacts.
        MergeContacts,
        /// The command contact import: one entry, made before its first row is.
        ImportContacts,
        /// The mutation addOptOut.
        AddOptOut,
        /// The mutation importOptOuts: one entry a call.
        ImportOptOuts,
        /// The mutation removeOptOut.
        RemoveOptOut,
        /// The mutation purchasePhoneNumber.
        PurchasePhoneNumber,
        /// The mutation updatePhoneNumber.
        UpdatePhoneNumber,
        /// The mutation releasePhoneNumber.
        ReleasePhoneNumber,
        /// The mutation transferPhoneNumber: it concerns the account that the number is moved to.
        TransferPhoneNumber,
        /// The mutation createSender.
        CreateSender,
        /// The mutation updateSender.
        UpdateSender,
        /// The mutation deleteSender.
        DeleteSender,
        /// The mutation createTemplate.
        CreateTemplate,
        /// The mutation updateTemplate.
        UpdateTemplate,
        /// The mutation deleteTemplate.
        DeleteTemplate,
        /// The mutation createSubAccount.
        CreateSubAccount,
        /// The mutation updateSubAccount.
        UpdateSubAccount,
        /// The mutation suspendSubAccount.
        SuspendSubAccount,
        /// The mutation reactivateSubAccount.
        ReactivateSubAccount,
        /// The mutation deactivateSubAccount.
        DeactivateSubAccount,
        /// The mutation createApiKey, or the command key create.
        CreateApiKey,
        /// The mutation updateApiKey.
        UpdateApiKey,
        /// The mutation rotateApiKey.
        RotateApiKey,
        /// The mutation revokeApiKey, or the command key revoke.
        RevokeApiKey,
        /// The mutation createTeam, or the command team create.
        CreateTeam,
        /// The mutation topUpTeam, or the command team top-up.
        TopUpTeam,
        /// The mutation adjustTeamBalance.
        AdjustTeamBalance,
        /// The command price import.
        ImportPrices,
        /// The command number import.
        ImportPhoneNumbers,
        /// The command number withdraw.
        WithdrawPhoneNumber,
    }
}

impl AuditAction {
    /// The action of the mutation of this name; `None` for mutations that leave no entry.
    pub fn of_mutation(name: &str) -> Option<Self> {
        Self::iter().find(|action| {
            let action: &str = action.into();
            action.replace('_', "").eq_ignore_ascii_case(name)
        })
    }

    /// Whether it changes what an account owns: entries of a sub-account are then private (R3).
    pub fn is_own_work(self) -> bool {
        match self {
            Self::CreateContact
            | Self::UpdateContact
            | Self::DeleteContact
            | Self::AddContactAddress
            | Self::UpdateContactAddress
            | Self::RemoveContactAddress
            | Self::MergeContacts
            | Self::ImportContacts
            | Self::AddOptOut
            | Self::ImportOptOuts
            | Self::RemoveOptOut
            | Self::PurchasePhoneNumber
            | Self::UpdatePhoneNumber
            | Self::ReleasePhoneNumber
            | Self::CreateSender
            | Self::UpdateSender
            | Self::DeleteSender
            | Self::CreateTemplate
            | Self::UpdateTemplate
            | Self::DeleteTemplate => true,
            Self::SetQuietHours
            | Self::CreateSubAccount
            | Self::UpdateSubAccount
            | Self::SuspendSubAccount
            | Self::ReactivateSubAccount
            | Self::DeactivateSubAccount
            | Self::CreateApiKey
            | Self::UpdateApiKey
            | Self::RotateApiKey
            | Self::RevokeApiKey
            | Self::CreateTeam
            | Self::TopUpTeam
            | Self::AdjustTeamBalance
            | Self::ImportPrices
            | Self::TransferPhoneNumber
            | Self::ImportPhoneNumbers
            | Self::WithdrawPhoneNumber => false,
        }
    }
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
