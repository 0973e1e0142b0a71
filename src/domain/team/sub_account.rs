//! Creates and changes sub-accounts. Only the main account of the team may do this. Credit limits change under the
//! team's lock, so they apply to the next charge.

use crate::domain::account::AccountRef;
use entity::{
    account,
    api_key::{self, Environment, Role},
    audit_entry::AuditAction,
    team,
};
use sea_orm::{
    ActiveEnum, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr,
    EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, sea_query::Expr,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        Failure, Fault,
        api_key::{self as keys, authentication::begin_as_main, plain_key::PlainKey},
        audit_log::{Entry, Settings, cents},
        caller::{LiveMainCaller, MainCaller},
        events::Change,
        refused, refused_if_taken,
        search::folded,
        validate::{self, METADATA_RULE, NAME_RULE},
    },
    money::{GivenAmount, Micros},
};

const EXTERNAL_ID_RULE: &str = "The externalId must have 1 to 200 characters, at least one of them visible, and no \
                                control, line-separator or bidirectional control characters.";
const EXTERNAL_ID_TAKEN: &str = "Another sub-account of the team has this externalId.";
const CREDIT_LIMIT_RULE: &str = "The creditLimit must be 0 to 100000000000 cents with at most four decimal places, \
                                 or null for no limit.";
pub(in crate::domain) const NOT_FOUND: &str = "There is no such sub-account.";

/// Maximum number of sub-accounts of a team, in any status. Sub-accounts are never deleted.
pub const SUB_ACCOUNTS_MAX: i64 = 100_000;

entity::api_enum! {
    /// Reasons why createSubAccount is refused.
    pub enum CreateSubAccountRefusal {
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// The externalId is blank, longer than 200 characters, or contains control characters.
        ExternalIdInvalid,
        /// Another sub-account of the team has this externalId.
        ExternalIdTaken,
        /// The creditLimit is negative, greater than 100000000000 cents, or has more than four decimal places.
        CreditLimitInvalid,
        /// The metadata is larger than 16 KiB as JSON, or has more than 1,000 values or 32 levels of nesting.
        MetadataInvalid,
        /// The team already has 100,000 sub-accounts of any status.
        TooManySubAccounts,
    }

    /// Reasons why updateSubAccount is refused.
    pub enum UpdateSubAccountRefusal {
        /// The team has no such sub-account.
        NotFound,
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
        /// The externalId is blank, longer than 200 characters, or contains control characters.
        ExternalIdInvalid,
        /// Another sub-account of the team has this externalId.
        ExternalIdTaken,
        /// The creditLimit is negative, greater than 100000000000 cents, or has more than four decimal places.
        CreditLimitInvalid,
        /// The metadata is larger than 16 KiB as JSON, or has more than 1,000 values or 32 levels of nesting.
        MetadataInvalid,
    }
}

pub struct NewSubAccount {
    pub name: String,
    pub external_id: Option<String>,
    pub credit_limit: Option<GivenAmount>,
    pub metadata: Option<Map<String, Value>>,
    pub team_balance_visible: bool,
}

/// The fields to change. `None` keeps the value, and `Some(None)` removes it.
#[derive(Default)]
pub struct SubAccountChange {
    pub name: Option<String>,
    pub external_id: Option<Option<String>>,
    pub credit_limit: Option<Option<GivenAmount>>,
    pub metadata: Option<Option<Map<String, Value>>>,
    pub team_balance_visible: Option<bool>,
}

/// Returns the text in which `search` looks for matches. The order by name uses the same text as its key.
pub fn search_text(name: &str, external_id: Option<&str>) -> String {
    format!("{}\n{}", folded(name), folded(external_id.unwrap_or_default()))
}

/// Creates a sub-account and its first key, which is LIVE.
pub async fn create(
    app: &App,
    main: &LiveMainCaller,
    new: NewSubAccount,
) -> Result<(account::Model, api_key::Model, PlainKey), Failure<CreateSubAccountRefusal>> {
    use CreateSubAccountRefusal as Refusal;
    let name = validate::name(&new.name)
        .ok_or_else(|| refused(Refusal::NameInvalid, &["input", "name"], NAME_RULE))?;
    let external_id = checked_external_id(new.external_id.as_deref()).map_err(|()| {
        refused(Refusal::ExternalIdInvalid, &["input", "externalId"], EXTERNAL_ID_RULE)
    })?;
    let credit_limit = checked_limit(new.credit_limit).map_err(|()| {
        refused(Refusal::CreditLimitInvalid, &["input", "creditLimit"], CREDIT_LIMIT_RULE)
    })?;
    let metadata = checked_metadata(new.metadata)
        .map_err(|()| refused(Refusal::MetadataInvalid, &["input", "metadata"], METADATA_RULE))?;

    let now = app.clock.now();
    let account = account::Model {
        search_text: search_text(&name, external_id.as_deref()),
        name,
        credit_limit_micros: credit_limit.map(Micros::get),
        external_id,
        metadata,
        team_balance_visible: new.team_balance_visible,
        ..account::Model::new(app.new_id(), main.team_id(), true, now)
    };
    let owner = Some((account.team_id, account.id));
    let (api_key, plain_key) =
        keys::new_key(app, Role::SubAccount, owner, keys::FIRST_KEY_NAME, Environment::Live, None);

    let txn = begin_as_main(app, main).await?;
    if !increment_count(&txn, main.team_id()).await? {
        let message = "The team already has 100,000 sub-accounts (the maximum).";
        return Err(refused(Refusal::TooManySubAccounts, &[], message));
    }
    account::Entity::insert(account.clone().into_active_model())
        .exec_without_returning(&txn)
        .await
        .map_err(|error| {
            let field = &["input", "externalId"];
            refused_if_taken(error, Refusal::ExternalIdTaken, field, EXTERNAL_ID_TAKEN)
        })?;
    api_key::Entity::insert(api_key.clone().into_active_model())
        .exec_without_returning(&txn)
        .await?;
    let mut made = settings(&account);
    made.insert("apiKeyId", json!(api_key.id));
    let entry = Entry::of(AuditAction::CreateSubAccount, account.id).to(&account).made(made);
    txn.commit(app, entry).await?;
    app.events.publish([Change::of_account(&account)]);
    Ok((account, api_key, plain_key))
}

/// Increments the team's number of sub-accounts; returns `false` if the number has reached the maximum.
async fn increment_count(txn: &DatabaseTransaction, team_id: Uuid) -> Result<bool, Fault> {
    use team::Column;
    let counted = team::Entity::update_many()
        .col_expr(Column::SubAccountCount, Expr::col(Column::SubAccountCount).add(1))
        .filter(Column::Id.eq(team_id))
        .filter(Column::SubAccountCount.lt(SUB_ACCOUNTS_MAX))
        .exec(txn)
        .await?;
    Ok(counted.rows_affected > 0)
}

/// Changes the given fields and keeps the others. A new credit limit applies to the next send.
pub async fn update(
    app: &App,
    main: &LiveMainCaller,
    account: &AccountRef,
    change: SubAccountChange,
) -> Result<account::Model, Failure<UpdateSubAccountRefusal>> {
    use UpdateSubAccountRefusal as Refusal;
    let mut to = account::ActiveModel::default();
    let new_name = match change.name {
        None => None,
        Some(name) => Some(
            validate::name(&name)
                .ok_or_else(|| refused(Refusal::NameInvalid, &["input", "name"], NAME_RULE))?,
        ),
    };
    if let Some(external_id) = change.external_id {
        let external_id = checked_external_id(external_id.as_deref()).map_err(|()| {
            refused(Refusal::ExternalIdInvalid, &["input", "externalId"], EXTERNAL_ID_RULE)
        })?;
        to.external_id = Set(external_id);
    }
    if let Some(limit) = change.credit_limit {
        let limit = checked_limit(limit).map_err(|()| {
            refused(Refusal::CreditLimitInvalid, &["input", "creditLimit"], CREDIT_LIMIT_RULE)
        })?;
        to.credit_limit_micros = Set(limit.map(Micros::get));
    }
    if let Some(metadata) = change.metadata {
        let metadata = checked_metadata(metadata).map_err(|()| {
            refused(Refusal::MetadataInvalid, &["input", "metadata"], METADATA_RULE)
        })?;
        to.metadata = Set(metadata);
    }
    if let Some(is_visible) = change.team_balance_visible {
        to.team_balance_visible = Set(is_visible);
    }

    let txn = begin_as_main(app, main).await?;
    let found = find_sub_account(&txn, main.team_id(), account)
        .await?
        .ok_or_else(|| refused(Refusal::NotFound, &["account"], NOT_FOUND))?;
    let name = new_name.unwrap_or_else(|| found.name.clone());
    let external_id = match &to.external_id {
        Set(external_id) => external_id.clone(),
        _ => found.external_id.clone(),
    };
    to.search_text = Set(search_text(&name, external_id.as_deref()));
    to.name = Set(name);
    let changed = write(app, &txn, found.id, to).await.map_err(|error| {
        let field = &["input", "externalId"];
        refused_if_taken(error, Refusal::ExternalIdTaken, field, EXTERNAL_ID_TAKEN)
    })?;
    let entry = Entry::of(AuditAction::UpdateSubAccount, changed.id).to(&changed);
    txn.commit(app, entry.changed(settings(&found), settings(&changed))).await?;
    app.events.publish([Change::of_account(&changed)]);
    Ok(changed)
}

/// Returns the team's sub-account with this reference. The main account is not a sub-account.
pub async fn find(
    app: &App,
    main: &MainCaller,
    account: &AccountRef,
) -> Result<Option<account::Model>, Fault> {
    find_sub_account(&app.read_as(main), main.team_id(), account).await
}

pub(in crate::domain) async fn find_sub_account<C: ConnectionTrait>(
    db: &C,
    team_id: Uuid,
    account: &AccountRef,
) -> Result<Option<account::Model>, Fault> {
    Ok(account.find_in(team_id, db).await?.filter(|found| found.is_sub_account))
}

/// Returns the sub-account's fields for the audit log.
pub(in crate::domain) fn settings(account: &account::Model) -> Settings {
    Settings::from([
        ("name", json!(account.name)),
        ("status", json!(account.status.to_value())),
        ("statusReason", json!(account.status_reason)),
        ("creditLimit", json!(account.credit_limit_micros.map(cents))),
        ("externalId", json!(account.external_id)),
        ("metadata", json!(account.metadata)),
        ("teamBalanceVisible", json!(account.team_balance_visible)),
    ])
}

/// Writes only the columns that are set, because billing changes the totals of the same row.
pub(in crate::domain) async fn write(
    app: &App,
    txn: &DatabaseTransaction,
    id: Uuid,
    mut to: account::ActiveModel,
) -> Result<account::Model, DbErr> {
    to.updated_at = Set(app.clock.now());
    let rows = account::Entity::update_many()
        .set(to)
        .filter(account::Column::Id.eq(id))
        .exec_with_returning(txn)
        .await?;
    rows.into_iter().next().ok_or_else(|| DbErr::RecordNotUpdated)
}

fn checked_external_id(external_id: Option<&str>) -> Result<Option<String>, ()> {
    external_id.map(|text| validate::external_id(text).ok_or(())).transpose()
}

fn checked_limit(limit: Option<GivenAmount>) -> Result<Option<Micros>, ()> {
    match limit {
        None => Ok(None),
        Some(Ok(limit)) if limit >= Micros::ZERO => Ok(Some(limit)),
        Some(_) => Err(()),
    }
}

fn checked_metadata(metadata: Option<Map<String, Value>>) -> Result<Option<String>, ()> {
    metadata.map(|metadata| validate::metadata(&metadata).ok_or(())).transpose()
}
