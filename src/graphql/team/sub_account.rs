//! Management of sub-accounts by the main account.

use async_graphql::{
    Context, Enum, ID, InputObject, MaybeUndefined, Object, OneofObject, Result, SimpleObject,
};
use uuid::Uuid;

use crate::{
    domain::team::{sub_account as domain, sub_account_status},
    graphql::{
        access::{self, ContextExt, RoleGuard},
        account::Account,
        api_key::ApiKey,
        errors::{UserError, outcome},
        scalars::{Cents, JsonObject},
    },
};

/// Reference to an account of the team by one of its ids. An id of another team and a malformed id
/// are handled like an id that does not exist.
#[derive(OneofObject)]
pub enum AccountRef {
    /// Id of the account.
    Id(ID),
    /// Your own id of a sub-account.
    ExternalId(String),
}

impl From<AccountRef> for crate::domain::account::AccountRef {
    fn from(account: AccountRef) -> Self {
        match account {
            AccountRef::Id(id) => parse_id(&id).map_or(Self::Unknown, Self::Id),
            AccountRef::ExternalId(external_id) => Self::ExternalId(external_id),
        }
    }
}

/// The id, or `None` if it is malformed. A malformed id is handled like an id that does not exist.
pub fn parse_id(id: &ID) -> Option<Uuid> {
    Uuid::try_parse(id).ok()
}

/// Properties of the new sub-account.
#[derive(InputObject)]
pub struct CreateSubAccountInput {
    /// Name of the sub-account (1 to 200 characters).
    name: String,
    /// Your own id of the sub-account (1 to 200 characters), unique in the team. If omitted, it has
    /// none.
    external_id: Option<String>,
    /// Spending limit in cents (0 or more). If null or omitted, there is no limit; 0 means that
    /// nothing can be spent.
    credit_limit: Option<Cents>,
    /// Your own data about the sub-account (maximum 16 KiB as JSON, 1,000 values and 32 levels).
    metadata: Option<JsonObject>,
    /// Whether the sub-account's keys can read the team's balance (default true).
    team_balance_visible: Option<bool>,
}

/// Properties of the sub-account to change. Omitted properties are not changed. Null removes a
/// value where the property says so.
#[derive(InputObject)]
pub struct UpdateSubAccountInput {
    /// Name of the sub-account (1 to 200 characters).
    name: Option<String>,
    /// Your own id of the sub-account (1 to 200 characters), unique in the team. Null removes it.
    external_id: MaybeUndefined<String>,
    /// Spending limit in cents (0 or more), which applies from the next message on. Null removes
    /// the limit; 0 means that nothing can be spent.
    credit_limit: MaybeUndefined<Cents>,
    /// Your own data that replaces all metadata of the sub-account (maximum 16 KiB as JSON, 1,000
    /// values and 32 levels). Null removes it.
    metadata: MaybeUndefined<JsonObject>,
    /// Whether the sub-account's keys can read the team's balance.
    team_balance_visible: Option<bool>,
}

/// Details of the suspension.
#[derive(InputObject)]
pub struct SuspendSubAccountInput {
    /// Reason of the suspension, for people (1 to 500 characters). If omitted, there is none.
    reason: Option<String>,
}

/// Details of the deactivation.
#[derive(InputObject)]
pub struct DeactivateSubAccountInput {
    /// Reason of the deactivation, for people (1 to 500 characters). If omitted, there is none.
    reason: Option<String>,
}

/// Why a sub-account was not made.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::CreateSubAccountRefusal")]
pub enum CreateSubAccountErrorCode {
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
    /// The externalId is empty, longer than 200 characters, or has control characters.
    ExternalIdInvalid,
    /// Another sub-account of the team has this externalId.
    ExternalIdTaken,
    /// The limit is negative, beyond 100000000000 cents, or has more than four decimals.
    CreditLimitInvalid,
    /// The metadata is larger than 16 KiB as JSON or 1,000 values.
    MetadataInvalid,
    /// The team has 100000 sub-accounts already, in any status.
    TooManySubAccounts,
}

/// Why a sub-account was not changed.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::UpdateSubAccountRefusal")]
pub enum UpdateSubAccountErrorCode {
    /// The team has no such sub-account.
    NotFound,
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
    /// The externalId is empty, longer than 200 characters, or has control characters.
    ExternalIdInvalid,
    /// Another sub-account of the team has this externalId.
    ExternalIdTaken,
    /// The limit is negative, beyond 100000000000 cents, or has more than four decimals.
    CreditLimitInvalid,
    /// The metadata is larger than 16 KiB as JSON or 1,000 values.
    MetadataInvalid,
}

/// Why a sub-account was not suspended.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "sub_account_status::SuspendSubAccountRefusal")]
pub enum SuspendSubAccountErrorCode {
    /// The team has no such sub-account.
    NotFound,
    /// The reason is empty, longer than 500 characters, or has control characters.
    ReasonInvalid,
    /// It is INACTIVE; reactivate it first.
    AccountInactive,
}

/// Why a sub-account was not reactivated.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "sub_account_status::ReactivateSubAccountRefusal")]
pub enum ReactivateSubAccountErrorCode {
    /// The team has no such sub-account.
    NotFound,
}

/// Why a sub-account was not deactivated.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "sub_account_status::DeactivateSubAccountRefusal")]
pub enum DeactivateSubAccountErrorCode {
    /// The team has no such sub-account.
    NotFound,
    /// The reason is empty, longer than 500 characters, or has control characters.
    ReasonInvalid,
}

/// The answer to createSubAccount.
#[derive(SimpleObject)]
pub struct CreateSubAccountPayload {
    /// The new sub-account; null if refused.
    account: Option<Account>,
    /// Its first key, LIVE; null if refused.
    api_key: Option<ApiKey>,
    /// The key in full: shown here and never again. Null if refused.
    plain_key: Option<String>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<CreateSubAccountErrorCode>>,
}

/// The answer to updateSubAccount.
#[derive(SimpleObject)]
pub struct UpdateSubAccountPayload {
    /// The sub-account as it is now; null if refused.
    account: Option<Account>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<UpdateSubAccountErrorCode>>,
}

/// The answer to suspendSubAccount.
#[derive(SimpleObject)]
pub struct SuspendSubAccountPayload {
    /// The sub-account as it is now; null if refused.
    account: Option<Account>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<SuspendSubAccountErrorCode>>,
}

/// The answer to reactivateSubAccount.
#[derive(SimpleObject)]
pub struct ReactivateSubAccountPayload {
    /// The sub-account as it is now; null if refused.
    account: Option<Account>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<ReactivateSubAccountErrorCode>>,
}

/// The answer to deactivateSubAccount.
#[derive(SimpleObject)]
pub struct DeactivateSubAccountPayload {
    /// The sub-account as it is now; null if refused.
    account: Option<Account>,
    /// How many usable keys were revoked; 0 if it was INACTIVE already. Null if refused.
    keys_revoked: Option<i32>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<DeactivateSubAccountErrorCode>>,
}

#[derive(Default)]
pub struct SubAccountMutation;

#[Object]
impl SubAccountMutation {
    /// Creates a sub-account with its first LIVE key. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn create_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Properties of the new sub-account.")] input: CreateSubAccountInput,
    ) -> Result<Option<CreateSubAccountPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let new = domain::NewSubAccount {
            name: input.name,
            external_id: input.external_id,
            credit_limit: input.credit_limit.map(|limit| limit.0),
            metadata: input.metadata.map(|metadata| metadata.0),
            team_balance_visible: input.team_balance_visible.unwrap_or(true),
        };
        Ok(Some(match outcome(domain::create(ctx.app()?, &main, new).await)? {
            Ok((account, api_key, plain_key)) => CreateSubAccountPayload {
                account: Some(Account(account)),
                api_key: Some(ApiKey(api_key)),
                plain_key: Some(plain_key.reveal().to_owned()),
                errors: vec![],
            },
            Err(errors) => {
                CreateSubAccountPayload { account: None, api_key: None, plain_key: None, errors }
            }
        }))
    }

    /// Changes properties of a sub-account. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn update_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account.")] account: AccountRef,
        #[graphql(desc = "Properties to change.")] input: UpdateSubAccountInput,
    ) -> Result<Option<UpdateSubAccountPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let change = domain::SubAccountChange {
            name: input.name,
            external_id: patch(input.external_id),
            credit_limit: patch(input.credit_limit).map(|limit| limit.map(|limit| limit.0)),
            metadata: patch(input.metadata).map(|metadata| metadata.map(|metadata| metadata.0)),
            team_balance_visible: input.team_balance_visible,
        };
        let done = domain::update(ctx.app()?, &main, &account.into(), change).await;
        Ok(Some(match outcome(done)? {
            Ok(account) => {
                UpdateSubAccountPayload { account: Some(Account(account)), errors: vec![] }
            }
            Err(errors) => UpdateSubAccountPayload { account: None, errors },
        }))
    }

    /// Suspends a sub-account, so that its messages are refused until it is reactivated. Its keys
    /// remain valid for reading. Messages that were already accepted wait until then, or expire at
    /// their validUntil. Suspending a SUSPENDED sub-account changes nothing. Requires a LIVE key of
    /// the main account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn suspend_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account.")] account: AccountRef,
        #[graphql(desc = "Details of the suspension.")] input: Option<SuspendSubAccountInput>,
    ) -> Result<Option<SuspendSubAccountPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let reason = input.and_then(|input| input.reason);
        let done =
            sub_account_status::suspend(ctx.app()?, &main, &account.into(), reason.as_deref())
                .await;
        Ok(Some(match outcome(done)? {
            Ok(account) => {
                SuspendSubAccountPayload { account: Some(Account(account)), errors: vec![] }
            }
            Err(errors) => SuspendSubAccountPayload { account: None, errors },
        }))
    }

    /// Reactivates a suspended or inactive sub-account, so that it can send messages again. Revoked
    /// keys remain revoked, and messages that waited when it was deactivated are still canceled.
    /// Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn reactivate_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account.")] account: AccountRef,
    ) -> Result<Option<ReactivateSubAccountPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let done = sub_account_status::reactivate(ctx.app()?, &main, &account.into()).await;
        Ok(Some(match outcome(done)? {
            Ok(account) => {
                ReactivateSubAccountPayload { account: Some(Account(account)), errors: vec![] }
            }
            Err(errors) => ReactivateSubAccountPayload { account: None, errors },
        }))
    }

    /// Deactivates a sub-account and revokes all its LIVE and TEST keys immediately. Messages that
    /// wait for delivery are no longer sent; they become CANCELED with an errorCode and are
    /// refunded after the response, which takes a moment if there are many. Data and ledger entries
    /// are kept. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn deactivate_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account.")] account: AccountRef,
        #[graphql(desc = "Details of the deactivation.")] input: Option<DeactivateSubAccountInput>,
    ) -> Result<Option<DeactivateSubAccountPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let reason = input.and_then(|input| input.reason);
        let done =
            sub_account_status::deactivate(ctx.app()?, &main, &account.into(), reason.as_deref())
                .await;
        Ok(Some(match outcome(done)? {
            Ok((account, keys_revoked)) => DeactivateSubAccountPayload {
                account: Some(Account(account)),
                keys_revoked: Some(i32::try_from(keys_revoked).unwrap_or(i32::MAX)),
                errors: vec![],
            },
            Err(errors) => {
                DeactivateSubAccountPayload { account: None, keys_revoked: None, errors }
            }
        }))
    }
}

/// Converts a property of an update: `None` keeps the value, `Some(None)` removes it.
pub fn patch<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}
