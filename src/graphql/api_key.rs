//! API keys: listed without their secret; made, renamed, rotated and revoked by the main account.

use async_graphql::{Context, ID, InputObject, Object, Result};
use entity::{api_key as rows, audit_entry::AuditAction};

use super::{
    access::{self, ContextExt},
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

/// GraphQL's `ApiKey`, described there.
pub struct ApiKey(pub rows::Model);

/// An API key, never in full.
#[Object]
impl ApiKey {
    /// The key's id, by which it is managed. It opens nothing.
    async fn id(&self) -> ID {
        self.0.id.into()
    }

    /// The name that the key was given.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// The first characters of the key, for recognition.
    async fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// The last four characters of the key, for recognition.
    async fn last_four(&self) -> &str {
        &self.0.last_four
    }

    /// Whether the key moves money and reaches people.
    async fn environment(&self) -> Environment {
        self.0.environment.into()
    }

    /// When the key was made.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    /// When the key ends by itself: at its expiry, or at the end of its grace after a rotation.
    /// Null if it does not.
    async fn expires_at(&self) -> Option<DateTime> {
        ends_at(&self.0).map(DateTime)
    }

    /// When the key was revoked; null if it was not. A key that has expired counts as revoked since its end once its
    /// account gets another key or is deactivated.
    async fn revoked_at(&self) -> Option<DateTime> {
        self.0.revoked_at.map(DateTime)
    }

    /// When the key was last used, to the minute; null if never.
    async fn last_used_at(&self) -> Option<DateTime> {
        self.0.last_used_at.map(DateTime)
    }
}

/// A key to be made.
#[derive(InputObject)]
pub struct CreateApiKeyInput {
    /// 1 to 200 characters.
    name: String,
    /// LIVE if left out.
    environment: Option<Environment>,
    /// When the key ends by itself, in the future; never if left out.
    expires_at: Option<DateTime>,
}

/// What to change of a key.
#[derive(InputObject)]
pub struct UpdateApiKeyInput {
    /// 1 to 200 characters; kept if left out.
    name: Option<String>,
}

/// How to rotate a key.
#[derive(InputObject)]
pub struct RotateApiKeyInput {
    /// For how many seconds the old key still works, 0 to 2592000 (30 days), and never beyond its
    /// own expiry. 0 ends it at once.
    #[graphql(default = 0)]
    grace_seconds: i32,
}

payload! {
    /// The answer to createApiKey.
    CreateApiKeyPayload, domain::CreateKeyRefusal, (rows::Model, PlainKey) as (key, plain_key) => {
        /// The new key; null if refused.
        api_key: Option<ApiKey> = Some(ApiKey(key)),
        /// The key in full: shown here and never again. Null if refused.
        plain_key: Option<String> = Some(plain_key.reveal().to_owned()),
    }
}

payload! {
    /// The answer to updateApiKey.
    UpdateApiKeyPayload, domain::UpdateKeyRefusal, rows::Model as key => {
        /// The key as it is now; null if refused.
        api_key: Option<ApiKey> = Some(ApiKey(key)),
    }
}

payload! {
    /// The answer to rotateApiKey.
    RotateApiKeyPayload, domain::RotateKeyRefusal, (rows::Model, PlainKey) as (key, plain_key) => {
        /// The new key; null if refused.
        api_key: Option<ApiKey> = Some(ApiKey(key)),
        /// The new key in full: shown here and never again. Null if refused.
        plain_key: Option<String> = Some(plain_key.reveal().to_owned()),
    }
}

payload! {
    /// The answer to revokeApiKey.
    RevokeApiKeyPayload, api_key::revocation::RevokeKeyRefusal, rows::Model as key => {
        /// The key as it is now; null if refused.
        api_key: Option<ApiKey> = Some(ApiKey(key)),
    }
}

#[derive(Default)]
pub struct ApiKeyMutation;

#[Object]
impl ApiKeyMutation {
    /// Makes a key for a sub-account, or for the main account itself. Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn create_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account that the key is for.")] account: AccountRef,
        #[graphql(desc = "The key to be made.")] input: CreateApiKeyInput,
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

    /// Renames a key of the team. Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn update_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The key's id.")] id: ID,
        #[graphql(desc = "What to change.")] input: UpdateApiKeyInput,
    ) -> Result<Option<UpdateApiKeyPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::UpdateApiKey, Target::Key(id), async {
            domain::update(ctx.app()?, &ctx.live_main()?, id, input.name.as_deref()).await
        });
        UpdateApiKeyPayload::of(done.await)
    }

    /// Replaces a key of the team by a new one with the same name, environment and expiry. The old
    /// key ends at once, or after a grace. Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn rotate_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The old key's id.")] id: ID,
        #[graphql(desc = "How to rotate; without a grace if left out.")] input: Option<
            RotateApiKeyInput,
        >,
    ) -> Result<Option<RotateApiKeyPayload>> {
        let id = parse_id(&id);
        let grace_seconds = input.map_or(0, |input| input.grace_seconds);
        let done = audited(ctx, AuditAction::RotateApiKey, Target::Key(id), async {
            domain::rotate(ctx.app()?, &ctx.live_main()?, id, grace_seconds).await
        });
        RotateApiKeyPayload::of(done.await)
    }

    /// Ends a key of the team at once and for good. Revoking a revoked key changes nothing.
    /// Main-account keys only.
    #[graphql(visible = "access::main")]
    async fn revoke_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The key's id.")] id: ID,
    ) -> Result<Option<RevokeApiKeyPayload>> {
        let id = parse_id(&id);
        let done = audited(ctx, AuditAction::RevokeApiKey, Target::Key(id), async {
            api_key::revocation::revoke(ctx.app()?, &ctx.live_main()?, id).await
        });
        RevokeApiKeyPayload::of(done.await)
    }
}
