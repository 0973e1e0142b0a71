//! Teams. Operators create and list them. A team is created together with its main account and the first key of that
//! account.

use std::collections::HashMap;

use entity::{
    account,
    api_key::{self, Environment, Role},
    audit_entry::AuditAction,
    team,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, IntoActiveModel, QueryFilter,
};
use serde_json::json;
use uuid::Uuid;

use super::{
    Failure, Fault,
    account::team_lock::lock_team,
    api_key::{self as keys, authentication::begin_as_operator, plain_key::PlainKey},
    audit_log::{Entry, Settings},
    caller::{Caller, OperatorCaller},
    events::Change,
    list::List,
    page::{Page, PageArgs},
    refused,
    validate::{self, NAME_RULE},
};
use crate::app::App;

const NOT_FOUND: &str = "No team has this id.";

pub mod sub_account;
pub mod sub_account_list;
pub mod sub_account_status;

entity::api_enum! {
    /// Reasons why createTeam is refused.
    pub enum CreateTeamRefusal {
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
    }
}

entity::api_enum! {
    /// Reasons why renameTeam is refused.
    pub enum RenameTeamRefusal {
        /// No team has this id.
        NotFound,
        /// The name is blank, longer than 200 characters, or contains control characters.
        NameInvalid,
    }
}

/// A new team with its main account and first key.
pub struct CreatedTeam {
    pub team: team::Model,
    pub main_account: account::Model,
    pub api_key: api_key::Model,
    pub plain_key: PlainKey,
}

/// Creates a team with balance 0, a main account of the same name, and a LIVE key for that account.
pub async fn create(
    app: &App,
    operator: &OperatorCaller,
    name: &str,
) -> Result<CreatedTeam, Failure<CreateTeamRefusal>> {
    let name = validate::name(name)
        .ok_or_else(|| refused(CreateTeamRefusal::NameInvalid, &["input", "name"], NAME_RULE))?;
    let now = app.clock.now();
    let team = team::Model {
        id: app.new_id(),
        name: name.clone(),
        balance_micros: 0,
        sub_account_count: 0,
        created_at: now,
        updated_at: now,
    };
    let main_account = account::Model {
        search_text: sub_account::search_text(&name, None),
        name,
        ..account::Model::new(app.new_id(), team.id, false, now)
    };
    let owner = Some((team.id, main_account.id));
    let (api_key, plain_key) =
        keys::new_key(app, Role::MainAccount, owner, keys::FIRST_KEY_NAME, Environment::Live, None);

    let txn = begin_as_operator(app, operator).await?;
    team::Entity::insert(team.clone().into_active_model()).exec_without_returning(&txn).await?;
    account::Entity::insert(main_account.clone().into_active_model())
        .exec_without_returning(&txn)
        .await?;
    api_key::Entity::insert(api_key.clone().into_active_model())
        .exec_without_returning(&txn)
        .await?;
    let settings = Settings::from([
        ("name", json!(team.name)),
        ("mainAccountId", json!(main_account.id)),
        ("apiKeyId", json!(api_key.id)),
    ]);
    let entry = Entry::of(AuditAction::CreateTeam, team.id).to_team(team.id).made(settings);
    txn.commit(app, entry).await?;
    Ok(CreatedTeam { team, main_account, api_key, plain_key })
}

/// Renames a team and its main account, whose name is always that of the team. `id` is `None` if it is malformed.
pub async fn rename(
    app: &App,
    operator: &OperatorCaller,
    id: Option<Uuid>,
    name: &str,
) -> Result<team::Model, Failure<RenameTeamRefusal>> {
    use RenameTeamRefusal as Refusal;
    let not_found = || refused(Refusal::NotFound, &["input", "teamId"], NOT_FOUND);
    let name = validate::name(name)
        .ok_or_else(|| refused(Refusal::NameInvalid, &["input", "name"], NAME_RULE))?;

    let txn = begin_as_operator(app, operator).await?;
    let team = lock_team(&txn, id.ok_or_else(not_found)?).await?.ok_or_else(not_found)?;
    let now = app.clock.now();
    let to_account = account::ActiveModel {
        search_text: Set(sub_account::search_text(&name, None)),
        name: Set(name.clone()),
        updated_at: Set(now),
        ..Default::default()
    };
    account::Entity::update_many()
        .set(to_account)
        .filter(account::Column::TeamId.eq(team.id))
        .filter(account::Column::IsSubAccount.eq(false))
        .exec(&txn)
        .await?;
    let to_team =
        team::ActiveModel { name: Set(name.clone()), updated_at: Set(now), ..Default::default() };
    team::Entity::update_many()
        .set(to_team)
        .filter(team::Column::Id.eq(team.id))
        .exec(&txn)
        .await?;
    let before = Settings::from([("name", json!(team.name))]);
    let after = Settings::from([("name", json!(name))]);
    let entry = Entry::of(AuditAction::RenameTeam, team.id).to_team(team.id);
    txn.commit(app, entry.changed(before, after)).await?;
    app.events.publish([Change { team_id: team.id, account_id: None, message_id: None }]);
    Ok(team::Model { name, updated_at: now, ..team })
}

/// Returns the team with this id, for an operator.
pub async fn find(
    app: &App,
    operator: &OperatorCaller,
    id: Uuid,
) -> Result<Option<team::Model>, Fault> {
    Ok(team::Entity::find_by_id(id).one(&app.read_as(operator)).await?)
}

/// Returns all teams, newest first, for an operator.
pub async fn list(
    app: &App,
    operator: &OperatorCaller,
    page: &PageArgs,
) -> Result<Page<team::Model>, Fault> {
    let keyset = page.keyset("teams")?;
    let list = List::newest_first(team::Entity::find(), team::Column::Id, |row| row.id);
    list.page(&app.read_as(operator), keyset).await
}

/// Returns the teams with these ids that the caller may see: its own team, or any team for an operator.
pub async fn find_many(
    app: &App,
    caller: &Caller,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, team::Model>, Fault> {
    let own = caller.team_scope().map(|team_id| team::Column::Id.eq(team_id));
    let rows = team::Entity::find()
        .filter(team::Column::Id.is_in(ids.iter().copied()))
        .filter(Condition::all().add_option(own))
        .all(&app.read_as(caller))
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}
