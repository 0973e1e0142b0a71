//! Reading the audit log: a main account sees what concerns its team, less what its sub-accounts did with what
//! they own (R3); an operator sees everything.

use entity::audit_entry::{self, AuditAction, AuditActor, AuditOutcome, Column, Entity};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, Select};
use uuid::Uuid;

use super::{
    Fault, bad_input,
    caller::{MainCaller, OperatorCaller},
    list::List,
    page::{Page, PageArgs},
    range::DateTimeRange,
    sub_account::AccountRef,
};
use crate::{App, db::Scope};

#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub action: Option<Vec<AuditAction>>,
    pub outcome: Option<Vec<AuditOutcome>>,
    pub account: Option<AccountRef>,
    /// The key that was used; nil where the id was malformed.
    pub actor_key_id: Option<Uuid>,
    pub created_at: DateTimeRange,
}

/// One page of what concerns the main account's team, newest first.
pub async fn list_of_team(
    app: &App,
    main: &MainCaller,
    filter: &AuditFilter,
    page: &PageArgs,
) -> Result<Page<audit_entry::Model>, Fault> {
    let team_id = main.team_id();
    let mut seen =
        Condition::all().add(Column::TeamId.eq(team_id)).add(Column::IsPrivate.eq(false));
    if filter.actor_key_id.is_some() {
        // An operator's key is not shown to a main account, so it is not looked for either.
        seen = seen.add(Column::Actor.is_in([AuditActor::MainAccount, AuditActor::SubAccount]));
    }
    list(app, main.into(), Entity::seen_by_team(team_id), seen, Some(team_id), filter, page).await
}

/// One page of everything, or of what concerns one team, newest first, for an operator.
pub async fn list_for_operator(
    app: &App,
    operator: &OperatorCaller,
    team_id: Option<Uuid>,
    filter: &AuditFilter,
    page: &PageArgs,
) -> Result<Page<audit_entry::Model>, Fault> {
    let rows = team_id.map_or_else(Entity::find, Entity::of_team);
    let seen = Condition::all().add_option(team_id.map(|team_id| Column::TeamId.eq(team_id)));
    list(app, operator.into(), rows, seen, team_id, filter, page).await
}

/// `rows` are those that the caller may see, and `seen` says the same of a row.
async fn list(
    app: &App,
    scope: Scope,
    mut rows: Select<Entity>,
    seen: Condition,
    team_id: Option<Uuid>,
    filter: &AuditFilter,
    page: &PageArgs,
) -> Result<Page<audit_entry::Model>, Fault> {
    let keyset = page.keyset("audit_log")?;
    let mut looked_at = Condition::all();
    if let Some(account) = &filter.account {
        let id = match (team_id, account) {
            (Some(team_id), account) => {
                account.find_in(team_id, &app.read_as(scope)).await?.map(|found| found.id)
            }
            (None, AccountRef::Id(id)) => Some(*id),
            (None, AccountRef::Unknown) => None,
            (None, AccountRef::ExternalId(_)) => {
                let message = "An externalId is one of a team: ask for the auditLog of a team.";
                return Err(bad_input(message));
            }
        };
        // Who is not of the team has no entries; no row has the nil id.
        rows = Entity::of_account(id.unwrap_or_default());
    }
    if filter.account.is_some() || filter.actor_key_id.is_some() {
        looked_at = looked_at.add(seen);
    }
    if let Some(action) = &filter.action {
        looked_at = looked_at.add(Column::Action.is_in(action.iter().copied()));
    }
    if let Some(outcome) = &filter.outcome {
        looked_at = looked_at.add(Column::Outcome.is_in(outcome.iter().copied()));
    }
    if let Some(key_id) = filter.actor_key_id {
        looked_at = looked_at.add(Column::KeyId.eq(key_id));
    }
    let rows = rows.filter(filter.created_at.on(Column::Id, Column::CreatedAt));
    let list = List::newest_first(rows, Column::Id, |row| row.id).filtered(looked_at);
    list.page(&app.read_as(scope), keyset).await
}
