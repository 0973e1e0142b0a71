//! Reads the audit log. A main account sees the entries of its team, except for changes that sub-accounts made to
//! objects that they own. An operator sees everything.

use entity::audit_entry::{self, AuditAction, AuditActor, AuditOutcome, Column, Entity};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, Select};
use uuid::Uuid;

use crate::{
    app::App,
    db::Scope,
    domain::{
        Fault,
        account::AccountRef,
        bad_input,
        caller::{MainCaller, OperatorCaller},
        list::{List, is_one_of},
        page::{Page, PageArgs},
        range::DateTimeRange,
    },
};

#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub action: Option<Vec<AuditAction>>,
    pub outcome: Option<Vec<AuditOutcome>>,
    pub account: Option<AccountRef>,
    /// The key that made the call; the nil UUID if the id was malformed.
    pub actor_key_id: Option<Uuid>,
    pub created_at: DateTimeRange,
}

/// Returns one page of the entries of the main account's team, newest first.
pub async fn list_of_team(
    app: &App,
    main: &MainCaller,
    filter: &AuditFilter,
    page: &PageArgs,
) -> Result<Page<audit_entry::Model>, Fault> {
    let team_id = main.team_id();
    let rows = match &filter.account {
        Some(account) => {
            let found = account.find_in(team_id, &app.read_as(main)).await?;
            // If the account does not exist, the nil id is used, because no row has it.
            Entity::seen_of_account(found.map(|found| found.id).unwrap_or_default())
        }
        None => Entity::seen_by_team(team_id),
    };
    let mut seen = Condition::all();
    if filter.actor_key_id.is_some() {
        // A main account does not see operators' keys, so it cannot filter by one.
        seen = seen.add(Column::Actor.is_in([AuditActor::MainAccount, AuditActor::SubAccount]));
    }
    list(app, main.into(), rows, seen, filter, page).await
}

/// Returns one page of all entries, or of the entries of one team, newest first, for an operator.
pub async fn list_for_operator(
    app: &App,
    operator: &OperatorCaller,
    team_id: Option<Uuid>,
    filter: &AuditFilter,
    page: &PageArgs,
) -> Result<Page<audit_entry::Model>, Fault> {
    let rows = match (&filter.account, team_id) {
        (None, None) => Entity::find(),
        (None, Some(team_id)) => Entity::of_team(team_id),
        (Some(AccountRef::Id(id)), None) => Entity::of_account(*id),
        (Some(AccountRef::Unknown), None) => Entity::of_account(Uuid::nil()),
        (Some(AccountRef::ExternalId(_)), None) => {
            let message = "An externalId is unique only within its team. Use the team's auditLog.";
            return Err(bad_input(message));
        }
        (Some(account), Some(team_id)) => {
            let found = account.find_in(team_id, &app.read_as(operator)).await?;
            Entity::of_account(found.map(|found| found.id).unwrap_or_default())
        }
    };
    list(app, operator.into(), rows, Condition::all(), filter, page).await
}

/// Returns one page of those of these rows that match the filter. An index finds the rows.
async fn list(
    app: &App,
    scope: Scope,
    rows: Select<Entity>,
    mut conditions: Condition,
    filter: &AuditFilter,
    page: &PageArgs,
) -> Result<Page<audit_entry::Model>, Fault> {
    let keyset = page.keyset("audit_log")?;
    if let Some(action) = &filter.action {
        conditions = conditions.add(is_one_of(Column::Action, action));
    }
    if let Some(outcome) = &filter.outcome {
        conditions = conditions.add(is_one_of(Column::Outcome, outcome));
    }
    if let Some(key_id) = filter.actor_key_id {
        conditions = conditions.add(Column::KeyId.eq(key_id));
    }
    let rows = rows.filter(filter.created_at.on(Column::Id, Column::CreatedAt));
    let list = List::newest_first(rows, Column::Id, |row| row.id).filtered(conditions);
    list.page(&app.read_as(scope), keyset).await
}
