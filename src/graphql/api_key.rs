//! API keys: listing, creating, renaming, rotating and revoking them.

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use entity::api_key as rows;

use super::{
    access::{self, ContextExt, RoleGuard},
    errors::{UserError, outcome},
    scalars::DateTime,
    team::sub_account::{AccountRef, parse_id},
    viewer::Environment,
};
use crate::domain::api_key::{self as domain, self, authentication::ends_at};

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

    /// When the key was revoked; null if it was not revoked. For an expired key this becomes its
    /// expiry time once the account gets another key or is deactivated.
    async fn revoked_at(&self) -> Option<DateTime> {
        self.0.revoked_at.map(DateTime)
    }

    /// When the key was last used, with a precision of one minute; null if it was never used.
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
    /// 0). It never works beyond its own expiry. With 0 it stops working immediately.
    #[graphql(default = 0)]
    grace_seconds: i32,
}

/// Why a key was not made.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::CreateKeyRefusal")]
pub enum CreateApiKeyErrorCode {
    /// The team has no such account.
    NotFound,
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
    /// The expiry does not lie in the future.
    ExpiryInvalid,
    /// The account is INACTIVE; reactivate it first.
    AccountInactive,
    /// The account has 100 usable keys already.
    TooManyKeys,
}

/// Why a key was not changed.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::UpdateKeyRefusal")]
pub enum UpdateApiKeyErrorCode {
    /// The team has no such key.
    NotFound,
    /// The name is empty, longer than 200 characters, or has control characters.
    NameInvalid,
}

/// Why a key was not rotated.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::RotateKeyRefusal")]
pub enum RotateApiKeyErrorCode {
    /// The team has no such key.
    NotFound,
    /// The key was revoked or has expired; create a new one.
    KeyRevoked,
    /// The grace is not 0 to 2592000 seconds.
    GraceInvalid,
    /// With the old key still working the account would have more than 100.
    TooManyKeys,
}

/// Why a key was not revoked.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "api_key::revocation::RevokeKeyRefusal")]
pub enum RevokeApiKeyErrorCode {
    /// The team has no such key.
    NotFound,
    /// It is the main account's last usable LIVE key: no other lasts as long. Rotate it instead.
    LastKey,
}

/// The answer to createApiKey.
#[derive(SimpleObject)]
pub struct CreateApiKeyPayload {
    /// The new key; null if refused.
    api_key: Option<ApiKey>,
    /// The key in full: shown here and never again. Null if refused.
    plain_key: Option<String>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<CreateApiKeyErrorCode>>,
}

/// The answer to updateApiKey.
#[derive(SimpleObject)]
pub struct UpdateApiKeyPayload {
    /// The key as it is now; null if refused.
    api_key: Option<ApiKey>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<UpdateApiKeyErrorCode>>,
}

/// The answer to rotateApiKey.
#[derive(SimpleObject)]
pub struct RotateApiKeyPayload {
    /// The new key; null if refused.
    api_key: Option<ApiKey>,
    /// The new key in full: shown here and never again. Null if refused.
    plain_key: Option<String>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<RotateApiKeyErrorCode>>,
}

/// The answer to revokeApiKey.
#[derive(SimpleObject)]
pub struct RevokeApiKeyPayload {
    /// The key as it is now; null if refused.
    api_key: Option<ApiKey>,
    /// Why it was refused; empty if it was done.
    errors: Vec<UserError<RevokeApiKeyErrorCode>>,
}

#[derive(Default)]
pub struct ApiKeyMutation;

#[Object]
impl ApiKeyMutation {
    /// Creates an API key for the main account or a sub-account. Requires a LIVE key of the main
    /// account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn create_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Account that the key belongs to.")] account: AccountRef,
        #[graphql(desc = "Properties of the new API key.")] input: CreateApiKeyInput,
    ) -> Result<Option<CreateApiKeyPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let new = domain::NewApiKey {
            name: input.name,
            environment: input.environment.unwrap_or(Environment::Live).into(),
            expires_at: input.expires_at.map(|expiry| expiry.0),
        };
        let done = domain::create(ctx.app()?, &main, &account.into(), new).await;
        Ok(Some(match outcome(done)? {
            Ok((key, plain_key)) => CreateApiKeyPayload {
                api_key: Some(ApiKey(key)),
                plain_key: Some(plain_key.reveal().to_owned()),
                errors: vec![],
            },
            Err(errors) => CreateApiKeyPayload { api_key: None, plain_key: None, errors },
        }))
    }

    /// Renames an API key of the team. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn update_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the key.")] id: ID,
        #[graphql(desc = "Properties to change.")] input: UpdateApiKeyInput,
    ) -> Result<Option<UpdateApiKeyPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let done = domain::update(ctx.app()?, &main, parse_id(&id), input.name.as_deref()).await;
        Ok(Some(match outcome(done)? {
            Ok(key) => UpdateApiKeyPayload { api_key: Some(ApiKey(key)), errors: vec![] },
            Err(errors) => UpdateApiKeyPayload { api_key: None, errors },
        }))
    }

    /// Replaces an API key of the team with a new key that has the same name, environment and
    /// expiry. The old key stops working immediately or after a grace period. Requires a LIVE key
    /// of the main account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn rotate_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the old key.")] id: ID,
        #[graphql(desc = "Options of the rotation. If omitted, there is no grace period.")]
        input: Option<RotateApiKeyInput>,
    ) -> Result<Option<RotateApiKeyPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let grace_seconds = input.map_or(0, |input| input.grace_seconds);
        let done = domain::rotate(ctx.app()?, &main, parse_id(&id), grace_seconds).await;
        Ok(Some(match outcome(done)? {
            Ok((key, plain_key)) => RotateApiKeyPayload {
                api_key: Some(ApiKey(key)),
                plain_key: Some(plain_key.reveal().to_owned()),
                errors: vec![],
            },
            Err(errors) => RotateApiKeyPayload { api_key: None, plain_key: None, errors },
        }))
    }

    /// Revokes an API key of the team immediately and permanently. Revoking a revoked key changes
    /// nothing. Requires a LIVE key of the main account.
    #[graphql(guard = "RoleGuard::LiveMain", visible = "access::main")]
    async fn revoke_api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the key.")] id: ID,
    ) -> Result<Option<RevokeApiKeyPayload>> {
        let main = ctx.caller()?.main()?.live()?;
        let done = api_key::revocation::revoke(ctx.app()?, &main, parse_id(&id)).await;
        Ok(Some(match outcome(done)? {
            Ok(key) => RevokeApiKeyPayload { api_key: Some(ApiKey(key)), errors: vec![] },
            Err(errors) => RevokeApiKeyPayload { api_key: None, errors },
        }))
    }
}
