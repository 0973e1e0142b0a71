//! Managing sub-accounts, by the main account of their team.

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

/// Names an account of the team by one of its ids. One that is not of the team, or not written like
/// an id, answers like one that never existed.
#[derive(OneofObject)]
pub enum AccountRef {
    /// The account's id.
    Id(ID),
    /// Your own id for a sub-account.
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

/// The id, unless it is malformed: that answers like one that never existed.
pub fn parse_id(id: &ID) -> Option<Uuid> {
    Uuid::try_parse(id).ok()
}

/// A sub-account to be made.
#[derive(InputObject)]
pub struct CreateSubAccountInput {
    /// 1 to 200 characters.
    name: String,
    /// Your own id for it, 1 to 200 characters, unique in the team.
    external_id: Option<String>,
    /// The spending cap in cents, 0 or more. Null or left out: no limit; 0: nothing may be spent.
    credit_limit: Option<Cents>,
    /// Your own data about it, at most 16 KiB as JSON and 1,000 values at all levels.
    metadata: Option<JsonObject>,
    /// Whether its keys see the team's balance; true if left out.
    team_balance_visible: Option<bool>,
}

/// What to change of a sub-account. What is left out is kept; null clears, where clearing has a
/// meaning.
#[derive(InputObject)]
pub struct UpdateSubAccountInput {
    /// 1 to 200 characters.
    name: Option<String>,
    /// Your own id for it, 1 to 200 characters, unique in the team. Null: none.
    external_id: MaybeUndefined<String>,
    /// The spending cap in cents, 0 or more; the very next send is judged by it. Null: no limit; 0:
    /// nothing may be spent.
    credit_limit: MaybeUndefined<Cents>,
    /// Your own data about it, at most 16 KiB as JSON and 1,000 values at all levels, replaced whole.
    /// Null: none.
    metadata: MaybeUndefined<JsonObject>,
    /// Whether its keys see the team's balance.
    team_balance_visible: Option<bool>,
}

/// Why to suspend.
#[derive(InputObject)]
pub struct SuspendSubAccountInput {
    /// A reason for people, 1 to 500 characters.
    reason: Option<String>,
}

/// Why to deactivate.
#[derive(InputObject)]
pub struct DeactivateSubAccountInput {
    /// A reason for people, 1 to 500 characters.
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
    /// Makes a sub-account with its first key, LIVE. Main-account keys only.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn create_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account to be made.")] input: CreateSubAccountInput,
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

    /// Changes a sub-account: what is left out is kept. Main-account keys only.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn update_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] account: AccountRef,
        #[graphql(desc = "What to change.")] input: UpdateSubAccountInput,
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

    /// Refuses a sub-account's sends until it is reactivated; keys are kept and reading works.
    /// Accepted messages wait until then, or expire at their validUntil. Suspending what is
    /// SUSPENDED changes nothing. Main-account keys only.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn suspend_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] account: AccountRef,
        #[graphql(desc = "Why.")] input: Option<SuspendSubAccountInput>,
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

    /// Lets a suspended or inactive sub-account send again. Revoked keys do not come back, and
    /// messages that waited at a deactivation are canceled all the same. Main-account keys only.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn reactivate_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] account: AccountRef,
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

    /// Revokes all keys of a sub-account at once, LIVE and TEST. Messages that wait for delivery are
    /// not handed over any more; they are CANCELED, as their errorCode says, and refunded
    /// after the answer, which takes a moment if there are many. Data and ledger are kept.
    /// Main-account keys only.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn deactivate_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] account: AccountRef,
        #[graphql(desc = "Why.")] input: Option<DeactivateSubAccountInput>,
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

/// Left out keeps, null clears.
/// A field of a change: left out, null, or set.
pub fn patch<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}
