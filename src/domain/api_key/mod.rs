//! Creates, renames, rotates and revokes API keys. Every change first takes the team's lock. A charge takes the same
//! lock, so a key cannot be revoked during a charge.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    account::{self, AccountStatus},
    api_key::{self, Environment, Role},
    audit_entry::AuditAction,
};
use sea_orm::{
    ActiveEnum, ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait as _,
    DatabaseTransaction, DbBackend, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
    sea_query::Expr,
};
use serde_json::json;
use uuid::Uuid;

use self::{
    authentication::{begin_as_main, begin_as_operator, is_usable},
    plain_key::PlainKey,
};
use super::{
    Failure, Fault,
    account::AccountRef,
    audit_log::{Entry, Settings, moment, transaction::AuditedTransaction},
    caller::{LiveMainCaller, OperatorCaller},
    refused,
    validate::{self, NAME_RULE},
};
use crate::app::App;

pub mod authentication;
pub mod list;
pub mod lookup;
pub mod plain_key;
pub mod revocation;
pub mod revocation_monitor;

/// Maximum number of usable keys of an account.
pub const KEYS_PER_ACCOUNT_MAX: u64 = 100;
/// Maximum grace period of the old key after a rotation, in seconds: 30 days.
pub const GRACE_SECONDS_MAX: i32 = 30 * 24 * 60 * 60;
/// The name of the first key of a new account.
pub const FIRST_KEY_NAME: &str = "Default";

const TOO_MANY_KEYS: &str = "The account already has 100 usable keys. Revoke one first.";
pub(super) const KEY_NOT_FOUND: &str = "There is no such key.";
const KEY_REVOKED: &str = "The key was revoked or has expired. Create a new key.";

entity::api_enum! {
    /// Reasons why createApiKey is refused.
    pub enum CreateKeyRefusal as "CreateApiKeyErrorCode" {
        /// The team has no such account.
        NotFound,
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// The expiresAt is not in the future.
        ExpiryInvalid,
        /// The account is INACTIVE. Reactivate it first.
        AccountInactive,
        /// The account already has 100 valid keys.
        TooManyKeys,
    }

    /// Reasons why updateApiKey is refused.
    pub enum UpdateKeyRefusal as "UpdateApiKeyErrorCode" {
        /// The team has no such key.
        NotFound,
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
    }

    /// Reasons why rotateApiKey is refused.
    pub enum RotateKeyRefusal as "RotateApiKeyErrorCode" {
        /// The team has no such key.
        NotFound,
        /// The key was revoked or has expired. Create a new key instead.
        KeyRevoked,
        /// The graceSeconds is not between 0 and 2592000.
        GraceInvalid,
        /// During the grace period, the account would have more than 100 valid keys.
        TooManyKeys,
    }
}

/// The settings of a new key.
pub struct NewApiKey {
    pub name: String,
    pub environment: Environment,
    pub expires_at: Option<DateTime<Utc>>,
}

/// Generates a key and its row, but stores nothing. The row has the generation number of a new account.
pub fn new_key(
    app: &App,
    role: Role,
    owner: Option<(Uuid, Uuid)>,
    name: &str,
    environment: Environment,
    expires_at: Option<DateTime<Utc>>,
) -> (api_key::Model, PlainKey) {
    let plain_key = PlainKey::generate(role, environment);
    let row = api_key::Model {
        id: app.new_id(),
        team_id: owner.map(|(team_id, _)| team_id),
        account_id: owner.map(|(_, account_id)| account_id),
        role,
        name: name.to_owned(),
        hash: plain_key.hash().to_vec(),
        prefix: plain_key.prefix().to_owned(),
        last_four: plain_key.last_four().to_owned(),
        environment,
        created_at: app.clock.now(),
        expires_at,
        grace_ends_at: None,
        revoked_at: None,
        last_used_at: None,
        generation: 0,
    };
    (row, plain_key)
}

/// Creates a key for the main account or one of its sub-accounts.
pub async fn create(
    app: &App,
    main: &LiveMainCaller,
    account: &AccountRef,
    new: NewApiKey,
) -> Result<(api_key::Model, PlainKey), Failure<CreateKeyRefusal>> {
    let name = checked_name(app, &new)?;
    let txn = begin_as_main(app, main).await?;
    create_in(app, txn, main.team_id(), account, &name, new).await
}

/// Creates a key for the main account of a team, from the command line.
pub async fn create_for_main(
    app: &App,
    operator: &OperatorCaller,
    team_id: Uuid,
    new: NewApiKey,
) -> Result<(api_key::Model, PlainKey), Failure<CreateKeyRefusal>> {
    let name = checked_name(app, &new)?;
    let txn = begin_as_operator(app, operator).await?;
    super::account::team_lock::lock_team(&txn, team_id).await?;
    let main = account::Entity::of_team(team_id)
        .filter(account::Column::IsSubAccount.eq(false))
        .one(&txn)
        .await?;
    let account = main.map_or(AccountRef::Unknown, |main| AccountRef::Id(main.id));
    create_in(app, txn, team_id, &account, &name, new).await
}

/// Creates an operator's key, from the command line.
pub async fn create_for_operator(
    app: &App,
    operator: &OperatorCaller,
    new: NewApiKey,
) -> Result<(api_key::Model, PlainKey), Failure<CreateKeyRefusal>> {
    let name = checked_name(app, &new)?;
    let (row, plain_key) =
        new_key(app, Role::Operator, None, &name, Environment::Live, new.expires_at);
    let txn = begin_as_operator(app, operator).await?;
    api_key::Entity::insert(row.clone().into_active_model()).exec_without_returning(&txn).await?;
    txn.commit(app, creation_entry(&row)).await?;
    Ok((row, plain_key))
}

fn checked_name(app: &App, new: &NewApiKey) -> Result<String, Failure<CreateKeyRefusal>> {
    let name = validate::name(&new.name)
        .ok_or_else(|| refused(CreateKeyRefusal::NameInvalid, &["input", "name"], NAME_RULE))?;
    if new.expires_at.is_some_and(|expiry| expiry <= app.clock.now()) {
        let message =
            "The expiry must be in the future. Leave it out for a key that does not expire.";
        return Err(refused(CreateKeyRefusal::ExpiryInvalid, &["input", "expiresAt"], message));
    }
    Ok(name)
}

/// Creates the key in a transaction that holds the team's lock.
async fn create_in(
    app: &App,
    txn: AuditedTransaction,
    team_id: Uuid,
    account: &AccountRef,
    name: &str,
    new: NewApiKey,
) -> Result<(api_key::Model, PlainKey), Failure<CreateKeyRefusal>> {
    let not_found =
        || refused(CreateKeyRefusal::NotFound, &["account"], "There is no such account.");
    let account = account.find_in(team_id, &txn).await?.ok_or_else(not_found)?;
    if account.status == AccountStatus::Inactive {
        let message = "The account is inactive. Reactivate it first.";
        return Err(refused(CreateKeyRefusal::AccountInactive, &["account"], message));
    }
    if prune_and_count(app, &txn, account.id).await? >= KEYS_PER_ACCOUNT_MAX {
        return Err(refused(CreateKeyRefusal::TooManyKeys, &["account"], TOO_MANY_KEYS));
    }
    let (row, plain_key) = insert_for(app, &txn, &account, name, &new).await?;
    txn.commit(app, creation_entry(&row)).await?;
    Ok((row, plain_key))
}

/// Returns the audit log entry for a new key.
fn creation_entry(key: &api_key::Model) -> Entry {
    let environment = json!(key.environment.to_value());
    let made = Settings::from([
        ("name", json!(key.name)),
        ("environment", environment),
        ("expiresAt", moment(key.expires_at)),
    ]);
    Entry::of(AuditAction::CreateApiKey, key.id).to_key(key).made(made)
}

/// Returns the settings of an existing key for the audit log.
pub(super) fn settings(key: &api_key::Model) -> Settings {
    Settings::from([
        ("name", json!(key.name)),
        ("graceEndsAt", moment(key.grace_ends_at)),
        ("revokedAt", moment(key.revoked_at)),
    ])
}

async fn insert_for(
    app: &App,
    txn: &DatabaseTransaction,
    account: &account::Model,
    name: &str,
    new: &NewApiKey,
) -> Result<(api_key::Model, PlainKey), Fault> {
    let role = if account.is_sub_account { Role::SubAccount } else { Role::MainAccount };
    let owner = Some((account.team_id, account.id));
    let (mut row, plain_key) = new_key(app, role, owner, name, new.environment, new.expires_at);
    row.generation = account.key_generation;
    api_key::Entity::insert(row.clone().into_active_model()).exec_without_returning(txn).await?;
    Ok((row, plain_key))
}

/// Renames a key of the team.
pub async fn update(
    app: &App,
    main: &LiveMainCaller,
    id: Option<Uuid>,
    name: Option<&str>,
) -> Result<api_key::Model, Failure<UpdateKeyRefusal>> {
    let name = match name {
        None => None,
        Some(name) => Some(validate::name(name).ok_or_else(|| {
            refused(UpdateKeyRefusal::NameInvalid, &["input", "name"], NAME_RULE)
        })?),
    };

    let txn = begin_as_main(app, main).await?;
    let mut key = find_in_team(&txn, main.team_id(), id)
        .await?
        .ok_or_else(|| refused(UpdateKeyRefusal::NotFound, &["id"], KEY_NOT_FOUND))?;
    let before = settings(&key);
    if let Some(name) = name {
        change(&txn, &key, api_key::ActiveModel { name: Set(name.clone()), ..Default::default() })
            .await?;
        key.name = name;
    }
    let entry = Entry::of(AuditAction::UpdateApiKey, key.id).to_key(&key);
    txn.commit(app, entry.changed(before, settings(&key))).await?;
    Ok(key)
}

/// Replaces a key with a new key that has the same name, environment and expiry. The old key expires after
/// `grace_seconds`, or at its own expiry if that is earlier. If `grace_seconds` is 0, the old key is revoked
/// immediately.
pub async fn rotate(
    app: &App,
    main: &LiveMainCaller,
    id: Option<Uuid>,
    grace_seconds: i32,
) -> Result<(api_key::Model, PlainKey), Failure<RotateKeyRefusal>> {
    if !(0..=GRACE_SECONDS_MAX).contains(&grace_seconds) {
        let message =
            "The grace period is not valid (expected 0 to 2592000 seconds, which is 30 days).";
        return Err(refused(RotateKeyRefusal::GraceInvalid, &["input", "graceSeconds"], message));
    }

    let txn = begin_as_main(app, main).await?;
    let mut old = find_in_team(&txn, main.team_id(), id)
        .await?
        .ok_or_else(|| refused(RotateKeyRefusal::NotFound, &["id"], KEY_NOT_FOUND))?;
    let before = settings(&old);
    let now = app.clock.now();
    if !is_usable(&old, now) {
        return Err(refused(RotateKeyRefusal::KeyRevoked, &["id"], KEY_REVOKED));
    }
    let account_id = old.account_id.ok_or(Fault::Broken("a team's key has an account"))?;
    let account = account::Entity::of_team(main.team_id())
        .filter(account::Column::Id.eq(account_id))
        .one(&txn)
        .await?
        .ok_or(Fault::Broken("a key's account exists"))?;
    if grace_seconds == 0 {
        old.revoked_at = Some(now);
    } else {
        if prune_and_count(app, &txn, account_id).await? >= KEYS_PER_ACCOUNT_MAX {
            return Err(refused(RotateKeyRefusal::TooManyKeys, &["id"], TOO_MANY_KEYS));
        }
        let grace_end = now + TimeDelta::seconds(i64::from(grace_seconds));
        // A second rotation does not extend a grace period.
        let end = old.grace_ends_at.map_or(grace_end, |earlier| earlier.min(grace_end));
        old.grace_ends_at = Some(end);
    }
    let end = api_key::ActiveModel {
        revoked_at: Set(old.revoked_at),
        grace_ends_at: Set(old.grace_ends_at),
        ..Default::default()
    };
    change(&txn, &old, end).await?;
    let new = NewApiKey {
        name: old.name.clone(),
        environment: old.environment,
        expires_at: old.expires_at,
    };
    let (row, plain_key) = insert_for(app, &txn, &account, &old.name, &new).await?;
    let mut after = settings(&old);
    after.insert("newApiKeyId", json!(row.id));
    let entry = Entry::of(AuditAction::RotateApiKey, old.id).to_key(&old);
    txn.commit(app, entry.changed(before, after)).await?;
    app.keys.forget(&old);
    Ok((row, plain_key))
}

/// Selects the usable keys of an account.
pub(super) fn usable(app: &App, account_id: Uuid) -> sea_orm::Select<api_key::Entity> {
    let now = app.clock.now();
    let is_ahead = |end: api_key::Column| Condition::any().add(end.is_null()).add(end.gt(now));
    api_key::Entity::owned_by(account_id)
        .filter(api_key::Entity::is_not_revoked())
        .filter(is_ahead(api_key::Column::ExpiresAt))
        .filter(is_ahead(api_key::Column::GraceEndsAt))
}

/// Counts the usable keys of an account before another key is created. The caller holds the team's lock. Expired keys
/// are marked as revoked at the time of their expiry. So an account has at most [`KEYS_PER_ACCOUNT_MAX`] keys that are
/// not revoked, and the cost of reading these keys does not grow with the number of keys that the account has ever had.
async fn prune_and_count(
    app: &App,
    txn: &DatabaseTransaction,
    account_id: Uuid,
) -> Result<u64, Fault> {
    let has_ended = |end: api_key::Column| end.lte(app.clock.now());
    api_key::Entity::update_many()
        .col_expr(api_key::Column::RevokedAt, Expr::cust(earlier_end(txn.get_database_backend())))
        .filter(api_key::Column::AccountId.eq(account_id))
        .filter(api_key::Entity::is_not_revoked())
        .filter(
            Condition::any()
                .add(has_ended(api_key::Column::ExpiresAt))
                .add(has_ended(api_key::Column::GraceEndsAt)),
        )
        .exec(txn)
        .await?;
    Ok(usable(app, account_id).count(txn).await?)
}

/// Returns SQL for the earlier of a key's two expiry times. `SQLite` needs a different expression, because its `MIN`
/// returns NULL if one of the values is NULL.
fn earlier_end(backend: DbBackend) -> &'static str {
    match backend {
        DbBackend::Postgres => "LEAST(expires_at, grace_ends_at)",
        _ => "COALESCE(MIN(expires_at, grace_ends_at), expires_at, grace_ends_at)",
    }
}

pub(super) async fn find_in_team(
    txn: &DatabaseTransaction,
    team_id: Uuid,
    id: Option<Uuid>,
) -> Result<Option<api_key::Model>, Fault> {
    let Some(id) = id else {
        return Ok(None);
    };
    Ok(api_key::Entity::of_team(team_id).filter(api_key::Column::Id.eq(id)).one(txn).await?)
}

pub(super) async fn change(
    txn: &DatabaseTransaction,
    key: &api_key::Model,
    to: api_key::ActiveModel,
) -> Result<(), Fault> {
    api_key::Entity::update_many().set(to).filter(api_key::Column::Id.eq(key.id)).exec(txn).await?;
    Ok(())
}
