//! Management of sub-accounts by the main account.

use async_graphql::{Context, InputObject, MaybeUndefined, Object, Result};
use entity::{account, api_key, audit_entry::AuditAction};

use crate::{
    domain::{
        api_key::plain_key::PlainKey,
        audit_log::refused_call::Target,
        team::{sub_account as domain, sub_account_status},
    },
    graphql::{
        access::{self, ContextExt, RoleGuard},
        account::Account,
        api_key::ApiKey,
        audit_log::audited,
        input::{AccountRef, patch},
        payload::payload,
        scalars::{Cents, JsonObject},
    },
};

/// Properties of the new sub-account.
#[derive(InputObject)]
pub struct CreateSubAccountInput {
    /// Name of the sub-account (1 to 200 characters).
    name: String,
    /// Your own id for the sub-account (1 to 200 characters), unique in the team. If omitted, it
    /// has none.
    external_id: Option<String>,
    /// Spending limit in cents (0 or more). If null or omitted, there is no limit; 0 means that
    /// nothing can be spent.
    credit_limit: Option<Cents>,
    /// Your own data about the sub-account (maximum 16 KiB as JSON, 1,000 values and 32 levels of
    /// nesting).
    metadata: Option<JsonObject>,
    /// Whether the sub-account's keys can read the team's balance (default true).
    team_balance_visible: Option<bool>,
}

/// Properties of the sub-account to change. Omitted properties are not changed. Null removes a
/// value only if the description of the property says so.
#[derive(InputObject)]
pub struct UpdateSubAccountInput {
    /// Name of the sub-account (1 to 200 characters).
    name: Option<String>,
    /// Your own id for the sub-account (1 to 200 characters), unique in the team. Null removes it.
    external_id: MaybeUndefined<String>,
    /// Spending limit in cents (0 or more), which applies from the next message. Null removes the
    /// limit; 0 means that nothing can be spent.
    credit_limit: MaybeUndefined<Cents>,
    /// Your own data that replaces all metadata of the sub-account (maximum 16 KiB as JSON, 1,000
    /// values and 32 levels of nesting). Null removes it.
    metadata: MaybeUndefined<JsonObject>,
    /// Whether the sub-account's keys can read the team's balance.
    team_balance_visible: Option<bool>,
}

/// Details of the suspension.
#[derive(InputObject)]
pub struct SuspendSubAccountInput {
    /// Human-readable reason for the suspension (1 to 500 characters). If omitted, there is none.
    reason: Option<String>,
}

/// Details of the deactivation.
#[derive(InputObject)]
pub struct DeactivateSubAccountInput {
    /// Human-readable reason for the deactivation (1 to 500 characters). If omitted, there is none.
    reason: Option<String>,
}

payload! {
    /// Result of createSubAccount.
    CreateSubAccountPayload, domain::CreateSubAccountRefusal,
    (account::Model, api_key::Model, PlainKey) as (account, api_key, plain_key) => {
        /// The new sub-account; null if the mutation was refused.
        account: Option<Account> = Some(Account(account)),
        /// The first key of the sub-account, in the LIVE environment; null if the mutation was
        /// refused.
        api_key: Option<ApiKey> = Some(ApiKey(api_key)),
        /// The complete key, which authenticates requests. It is shown only once. Null if the
        /// mutation was refused.
        plain_key: Option<String> = Some(plain_key.reveal().to_owned()),
    }
}

payload! {
    /// Result of updateSubAccount.
    UpdateSubAccountPayload, domain::UpdateSubAccountRefusal, account::Model as account => {
        /// The sub-account after the change; null if the mutation was refused.
        account: Option<Account> = Some(Account(account)),
    }
}

payload! {
    /// Result of suspendSubAccount.
    SuspendSubAccountPayload, sub_account_status::SuspendSubAccountRefusal,
    account::Model as account => {
        /// The suspended sub-account; null if the mutation was refused.
        account: Option<Account> = Some(Account(account)),
    }
}

payload! {
    /// Result of reactivateSubAccount.
    ReactivateSubAccountPayload, sub_account_status::ReactivateSubAccountRefusal,
    account::Model as account => {
        /// The reactivated sub-account; null if the mutation was refused.
        account: Option<Account> = Some(Account(account)),
    }
}

payload! {
    /// Result of deactivateSubAccount.
    DeactivateSubAccountPayload, sub_account_status::DeactivateSubAccountRefusal,
    (account::Model, u64) as (account, keys_revoked) => {
        /// The deactivated sub-account; null if the mutation was refused.
        account: Option<Account> = Some(Account(account)),
        /// Number of valid keys that were revoked; 0 if the sub-account was already INACTIVE. Null
        /// if the mutation was refused.
        keys_revoked: Option<i32> = Some(i32::try_from(keys_revoked).unwrap_or(i32::MAX)),
    }
}

#[derive(Default)]
pub struct SubAccountMutation;

#[Object]
impl SubAccountMutation {
    /// Creates a sub-account with its first LIVE key. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn create_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Properties of the new sub-account.")] input: CreateSubAccountInput,
    ) -> Result<Option<CreateSubAccountPayload>> {
        let new = domain::NewSubAccount {
            name: input.name,
            external_id: input.external_id,
            credit_limit: input.credit_limit.map(|limit| limit.0),
            metadata: input.metadata.map(|metadata| metadata.0),
            team_balance_visible: input.team_balance_visible.unwrap_or(true),
        };
        let done = audited(ctx, AuditAction::CreateSubAccount, Target::Nothing, async {
            domain::create(ctx.app()?, &ctx.live_main()?, new).await
        });
        CreateSubAccountPayload::of(done.await)
    }

    /// Changes properties of a sub-account. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn update_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account.")] account: AccountRef,
        #[graphql(desc = "Properties to change.")] input: UpdateSubAccountInput,
    ) -> Result<Option<UpdateSubAccountPayload>> {
        let account = account.into();
        let change = domain::SubAccountChange {
            name: input.name,
            external_id: patch(input.external_id),
            credit_limit: patch(input.credit_limit).map(|limit| limit.map(|limit| limit.0)),
            metadata: patch(input.metadata).map(|metadata| metadata.map(|metadata| metadata.0)),
            team_balance_visible: input.team_balance_visible,
        };
        let done = audited(ctx, AuditAction::UpdateSubAccount, Target::Account(&account), async {
            domain::update(ctx.app()?, &ctx.live_main()?, &account, change).await
        });
        UpdateSubAccountPayload::of(done.await)
    }

    /// Suspends a sub-account, so that its messages are refused until it is reactivated. Its keys
    /// remain valid for reading. Messages that have already been accepted wait until then, or
    /// expire at their validUntil. Suspending a SUSPENDED sub-account changes nothing. Requires a
    /// LIVE key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn suspend_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account.")] account: AccountRef,
        #[graphql(desc = "Details of the suspension.")] input: Option<SuspendSubAccountInput>,
    ) -> Result<Option<SuspendSubAccountPayload>> {
        let account = account.into();
        let reason = input.and_then(|input| input.reason);
        let done = audited(ctx, AuditAction::SuspendSubAccount, Target::Account(&account), async {
            sub_account_status::suspend(ctx.app()?, &ctx.live_main()?, &account, reason.as_deref())
                .await
        });
        SuspendSubAccountPayload::of(done.await)
    }

    /// Reactivates a suspended or inactive sub-account, so that it can send messages again. Revoked
    /// keys remain revoked, and messages that were waiting when it was deactivated are canceled
    /// even after the reactivation. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn reactivate_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account.")] account: AccountRef,
    ) -> Result<Option<ReactivateSubAccountPayload>> {
        let account = account.into();
        let done =
            audited(ctx, AuditAction::ReactivateSubAccount, Target::Account(&account), async {
                sub_account_status::reactivate(ctx.app()?, &ctx.live_main()?, &account).await
            });
        ReactivateSubAccountPayload::of(done.await)
    }

    /// Deactivates a sub-account and revokes all its LIVE and TEST keys immediately. Messages that
    /// are waiting for delivery are no longer sent: they become CANCELED with an errorCode and are
    /// refunded. This happens after the response and takes a moment if there are many of them. Data
    /// and ledger entries are kept. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn deactivate_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account.")] account: AccountRef,
        #[graphql(desc = "Details of the deactivation.")] input: Option<DeactivateSubAccountInput>,
    ) -> Result<Option<DeactivateSubAccountPayload>> {
        let account = account.into();
        let reason = input.and_then(|input| input.reason);
        let done =
            audited(ctx, AuditAction::DeactivateSubAccount, Target::Account(&account), async {
                sub_account_status::deactivate(
                    ctx.app()?,
                    &ctx.live_main()?,
                    &account,
                    reason.as_deref(),
                )
                .await
            });
        DeactivateSubAccountPayload::of(done.await)
    }
}
