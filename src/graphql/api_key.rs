//! API keys: listing, creating, renaming, rotating and revoking keys.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::{api_key as rows, audit_entry::AuditAction};

use super::{
    access::{self, ContextExt, RoleGuard},
    audit_log::audited,
    enums::Environment,
    input::{AccountRef, parse_id},
    payload::payload,
    scalars::DateTime,
};
use crate::domain::{
    api_key::{self, self as domain, authentication::ends_at, plain_key::PlainKey},
    audit_log::refused_call::Target,
};

/// The GraphQL object `ApiKey`.
pub struct ApiKey(pub rows::Model);

/// An API key, without its secret.
#[Object]
impl ApiKey {
    /// Id of the key, used to manage it. It does not authenticate requests.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// Name of the key.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// First characters of the key, to help recognize it.
    async fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// Last four characters of the key, to help recognize it.
    async fn last_four(&self) -> &str {
        &self.0.last_four
    }

    /// Environment of the key: LIVE or TEST.
    async fn environment(&self) -> Environment {
        self.0.environment.into()
    }

    /// When the key was created.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the key stops working: at its expiry, or at the end of the grace period after a
    /// rotation. Null if it does not expire.
    async fn expires_at(&self) -> Option<DateTime> {
        ends_at(&self.0).map(DateTime)
    }

    /// When the key was revoked; null if it has not been revoked. For an expired key, it is set to
    /// the expiry time when the account gets another key or is deactivated.
    async fn revoked_at(&self) -> Option<DateTime> {
        self.0.revoked_at.map(DateTime)
    }

    /// When the key was last used, with a precision of one minute; null if it has never been used.
    async fn last_used_at(&self) -> Option<DateTime> {
        self.0.last_used_at.map(DateTime)
    }
}

/// Properties of the new API key.
#[derive(InputObject)]
pub struct CreateApiKeyInput {
    /// Name of the key (1 to 200 characters).
    name: String,
    /// Environment of the key (default LIVE).
    environment: Option<Environment>,
    /// When the key expires. It must be in the future. If omitted, the key does not expire.
    expires_at: Option<DateTime>,
}

/// Properties of the API key to change.
#[derive(InputObject)]
pub struct UpdateApiKeyInput {
    /// New name of the key (1 to 200 characters). If omitted, the name is not changed.
    name: Option<String>,
}

/// Options of the rotation.
#[derive(InputObject)]
pub struct RotateApiKeyInput {
    /// Number of seconds for which the old key still works (0 to 2592000, which is 30 days; default
    /// 0). If it expires sooner, it stops working then. With 0, it stops working immediately.
    #[graphql(default = 0)]
    grace_seconds: i32,
}

payload! {
    /// Result of createApiKey.
    CreateApiKeyPayload, domain::CreateKeyRefusal, (rows::Model, PlainKey) as (key, plain_key) => {
        /// The new key; null if the mutation was refused.
        api_key: Option<ApiKey> = Some(ApiKey(key)),
        /// The complete new key, which authenticates requests. It is shown only once. Null if the
        /// mutation was refused.
        plain_key: Option<String> = Some(plain_key.reveal().to_owned()),
    }
}

payload! {
    /// Result of updateApiKey.
    UpdateApiKeyPayload, domain::UpdateKeyRefusal, rows::Model as key => {
        /// The key after the change; null if the mutation was refused.
        api_key: Option<ApiKey> = Some(ApiKey(key)),
    }
}

payload! {
    /// Result of rotateApiKey.
    RotateApiKeyPayload, domain::RotateKeyRefusal, (rows::Model, PlainKey) as (key, plain_key) => {
        /// The new key; null if the mutation was refused.
        api_key: Option<ApiKey> = Some(ApiKey(key)),
        /// The complete new key, which authenticates requests. It is shown only once. Null if the
        /// mutation was refused.
        plain_key: Option<String> = Some(plain_key.reveal().to_owned()),
    }
}

payload! {
    /// Result of revokeApiKey.
    RevokeApiKeyPayload, api_key::revocation::RevokeKeyRefusal, rows::Model as key => {
        /// The revoked key; null if the mutation was refused.
        api_key: Option<ApiKey> = Some(ApiKey(key)),
    }
}

#[derive(Default)]
pub struct ApiKeyMutation;

#[Object]
impl ApiKeyMutation {
    /// Creates an API key for the main account or a sub-account. Requires a LIVE key of the main
    /// account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn create_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Account that the key belongs to.")] account: AccountRef,
        #[graphql(desc = "Properties of the new API key.")] input: CreateApiKeyInput,
    ) -> Result<Option<CreateApiKeyPayload>> {
        let account = account.into();
        let new = domain::NewApiKey {
            name: input.name,
            environment: input
                .environment
                .map_or(rows::Environment::Live, |environment| environment.0),
            expires_at: input.expires_at.map(|expiry| expiry.0),
        };
        let done = audited(ctx, AuditAction::CreateApiKey, Target::Account(&account), async {
            domain::create(ctx.app()?, &ctx.live_main()?, &account, new).await
        });
        CreateApiKeyPayload::of(done.await)
    }

    /// Renames an API key of the team. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn update_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the key.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdateApiKeyInput,
    ) -> Result<Option<UpdateApiKeyPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::UpdateApiKey, Target::Key(id), async {
            domain::update(ctx.app()?, &ctx.live_main()?, id, input.name.as_deref()).await
        });
        UpdateApiKeyPayload::of(done.await)
    }

    /// Replaces an API key of the team with a new key that has the same name, environment and
    /// expiry. The old key stops working immediately or after a grace period. Requires a LIVE key
    /// of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn rotate_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the old key.")] id: ID,
        #[graphql(desc = "Options of the rotation. If omitted, there is no grace period.")]
        input: Option<RotateApiKeyInput>,
    ) -> Result<Option<RotateApiKeyPayload>> {
        let id = parse_id(&id);
        let grace_seconds = input.map_or(0, |input| input.grace_seconds);
        let done = audited(ctx, AuditAction::RotateApiKey, Target::Key(id), async {
            domain::rotate(ctx.app()?, &ctx.live_main()?, id, grace_seconds).await
        });
        RotateApiKeyPayload::of(done.await)
    }

    /// Revokes an API key of the team immediately and permanently. Revoking a revoked key changes
    /// nothing. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::Main", visible = "access::main")]
    async fn revoke_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the key.")] id: ID,
    ) -> Result<Option<RevokeApiKeyPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::RevokeApiKey, Target::Key(id), async {
            api_key::revocation::revoke(ctx.app()?, &ctx.live_main()?, id).await
        });
        RevokeApiKeyPayload::of(done.await)
    }
}
