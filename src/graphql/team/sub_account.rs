//! Managing sub-accounts, by the main account of their team.

use async_graphql::{Context, InputObject, MaybeUndefined, Object, Result};
use entity::{account, api_key, audit_entry::AuditAction};

use crate::{
    domain::{
        api_key::plain_key::PlainKey,
        audit_log::refused_call::Target,
        team::{sub_account as domain, sub_account_status},
    },
    graphql::{
        access::{self, ContextExt},
        account::Account,
        api_key::ApiKey,
        audit_log::audited,
        input::{AccountRef, patch},
        payload::payload,
        scalars::{Cents, JsonObject},
    },
};

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

payload! {
    /// The answer to createSubAccount.
    CreateSubAccountPayload, domain::CreateSubAccountRefusal,
    (account::Model, api_key::Model, PlainKey) as (account, api_key, plain_key) => {
        /// The new sub-account; null if refused.
        account: Option<Account> = Some(Account(account)),
        /// Its first key, LIVE; null if refused.
        api_key: Option<ApiKey> = Some(ApiKey(api_key)),
        /// The key in full: shown here and never again. Null if refused.
        plain_key: Option<String> = Some(plain_key.reveal().to_owned()),
    }
}

payload! {
    /// The answer to updateSubAccount.
    UpdateSubAccountPayload, domain::UpdateSubAccountRefusal, account::Model as account => {
        /// The sub-account as it is now; null if refused.
        account: Option<Account> = Some(Account(account)),
    }
}

payload! {
    /// The answer to suspendSubAccount.
    SuspendSubAccountPayload, sub_account_status::SuspendSubAccountRefusal,
    account::Model as account => {
        /// The sub-account as it is now; null if refused.
        account: Option<Account> = Some(Account(account)),
    }
}

payload! {
    /// The answer to reactivateSubAccount.
    ReactivateSubAccountPayload, sub_account_status::ReactivateSubAccountRefusal,
    account::Model as account => {
        /// The sub-account as it is now; null if refused.
        account: Option<Account> = Some(Account(account)),
    }
}

payload! {
    /// The answer to deactivateSubAccount.
    DeactivateSubAccountPayload, sub_account_status::DeactivateSubAccountRefusal,
    (account::Model, u64) as (account, keys_revoked) => {
        /// The sub-account as it is now; null if refused.
        account: Option<Account> = Some(Account(account)),
        /// How many usable keys were revoked; 0 if it was INACTIVE already. Null if refused.
        keys_revoked: Option<i32> = Some(i32::try_from(keys_revoked).unwrap_or(i32::MAX)),
    }
}

#[derive(Default)]
pub struct SubAccountMutation;

#[Object]
impl SubAccountMutation {
    /// Makes a sub-account with its first key, LIVE. Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn create_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The sub-account to be made.")] input: CreateSubAccountInput,
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

    /// Changes a sub-account: what is left out is kept. Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn update_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] account: AccountRef,
        #[graphql(desc = "What to change.")] input: UpdateSubAccountInput,
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

    /// Refuses a sub-account's sends until it is reactivated; keys are kept and reading works.
    /// Accepted messages wait until then, or expire at their validUntil. Suspending what is
    /// SUSPENDED changes nothing. Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn suspend_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] account: AccountRef,
        #[graphql(desc = "Why.")] input: Option<SuspendSubAccountInput>,
    ) -> Result<Option<SuspendSubAccountPayload>> {
        let account = account.into();
        let reason = input.and_then(|input| input.reason);
        let done = audited(ctx, AuditAction::SuspendSubAccount, Target::Account(&account), async {
            sub_account_status::suspend(ctx.app()?, &ctx.live_main()?, &account, reason.as_deref())
                .await
        });
        SuspendSubAccountPayload::of(done.await)
    }

    /// Lets a suspended or inactive sub-account send again. Revoked keys do not come back, and
    /// messages that waited at a deactivation are canceled all the same. Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn reactivate_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] account: AccountRef,
    ) -> Result<Option<ReactivateSubAccountPayload>> {
        let account = account.into();
        let done =
            audited(ctx, AuditAction::ReactivateSubAccount, Target::Account(&account), async {
                sub_account_status::reactivate(ctx.app()?, &ctx.live_main()?, &account).await
            });
        ReactivateSubAccountPayload::of(done.await)
    }

    /// Revokes all keys of a sub-account at once, LIVE and TEST. Messages that wait for delivery are
    /// not handed over any more; they are CANCELED, as their errorCode says, and refunded
    /// after the answer, which takes a moment if there are many. Data and ledger are kept.
    /// Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn deactivate_sub_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which one.")] account: AccountRef,
        #[graphql(desc = "Why.")] input: Option<DeactivateSubAccountInput>,
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
