//! An entry in the audit log. It records a call that changed something, or a number of equal
//! refused calls. The table is append-only: the database refuses deletes, and the only update that
//! it allows is to increment the count of refused calls.

use sea_orm::{Iterable as _, entity::prelude::*};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_entry")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The team that the call concerned; `None` if the call concerned no team or the whole server.
    pub team_id: Option<Uuid>,
    /// The account that the call concerned; `None` if the call concerned the team as a whole.
    pub account_id: Option<Uuid>,
    /// Whether the call concerned data that only the sub-account itself may see.
    pub is_private: bool,
    pub actor: AuditActor,
    /// The key that made the call; `None` only for commands on the server's command line.
    pub key_id: Option<Uuid>,
    pub action: AuditAction,
    pub outcome: AuditOutcome,
    /// The error code of a refused call; `None` for other outcomes.
    #[sea_orm(column_type = "Text", nullable)]
    pub code: Option<String>,
    /// The id of the object that the call changed or would have changed.
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

crate::api_enum! {
    /// Kind of actor that made a call.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum AuditActor {
        /// A command on the server's command line. No API key was used.
        CommandLine,
        /// A key of an operator.
        Operator,
        /// A key of the team's main account.
        MainAccount,
        /// A key of a sub-account.
        SubAccount,
    }

    /// Outcome of a call.
    #[derive(DeriveActiveEnum)]
    #[sea_orm(rs_type = "String", db_type = "Text", rename_all = "SCREAMING_SNAKE_CASE")]
    pub enum AuditOutcome {
        /// The call was carried out.
        Done,
        /// The call repeated an earlier call with the same idempotencyKey, so it changed nothing.
        Replayed,
        /// The call was refused, and nothing was changed.
        Refused,
    }

    /// Action that an audit entry records: a mutation or a command on the server's command line.
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
        /// The command tollgate contact import, with one entry for the whole file. The entry is
        /// created before the first row is imported.
        ImportContacts,
        /// The mutation addOptOut.
        AddOptOut,
        /// The mutation importOptOuts, with one entry for each call.
        ImportOptOuts,
        /// The mutation removeOptOut.
        RemoveOptOut,
        /// The mutation purchasePhoneNumber.
        PurchasePhoneNumber,
        /// The mutation updatePhoneNumber.
        UpdatePhoneNumber,
        /// The mutation releasePhoneNumber.
        ReleasePhoneNumber,
        /// The mutation transferPhoneNumber. The account of the entry is the one that receives the
        /// number.
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
        /// The mutation createApiKey, or the command tollgate key create.
        CreateApiKey,
        /// The mutation updateApiKey.
        UpdateApiKey,
        /// The mutation rotateApiKey.
        RotateApiKey,
        /// The mutation revokeApiKey, or the command tollgate key revoke.
        RevokeApiKey,
        /// The mutation createTeam, or the command tollgate team create.
        CreateTeam,
        /// The mutation renameTeam.
        RenameTeam,
        /// The mutation topUpTeam, or the command tollgate team top-up.
        TopUpTeam,
        /// The mutation adjustTeamBalance.
        AdjustTeamBalance,
        /// The command tollgate price import.
        ImportPrices,
        /// The command tollgate number import.
        ImportPhoneNumbers,
        /// The command tollgate number withdraw.
        WithdrawPhoneNumber,
    }
}

impl AuditAction {
    /// Returns the action for the mutation with this name; `None` if the mutation is not recorded
    /// in the audit log.
    pub fn of_mutation(name: &str) -> Option<Self> {
        Self::iter().find(|action| {
            let action: &str = action.into();
            action.replace('_', "").eq_ignore_ascii_case(name)
        })
    }

    /// Returns whether the action changes objects that an account owns. If a sub-account performs
    /// such an action, the entry is private.
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
            | Self::RenameTeam
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
    /// Selects the entries about a team, including private entries about its sub-accounts.
    pub fn of_team(team_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::TeamId.eq(team_id))
    }

    /// Selects the entries about one account, including private entries.
    pub fn of_account(account_id: Uuid) -> Select<Self> {
        Self::find().filter(Column::AccountId.eq(account_id))
    }

    /// Selects those entries about one account that the main account of its team may see.
    pub fn seen_of_account(account_id: Uuid) -> Select<Self> {
        Self::of_account(account_id).filter(Column::IsPrivate.eq(false))
    }

    /// Selects those entries about a team that its main account may see.
    pub fn seen_by_team(team_id: Uuid) -> Select<Self> {
        Self::of_team(team_id).filter(Column::IsPrivate.eq(false))
    }
}
