//! Reading the audit log: a main account sees what concerns its team, less what its sub-accounts did with what
//! they own (R3); an operator sees everything.

use entity::audit_entry::{self, AuditAction, AuditActor, AuditOutcome, Column, Entity};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, Select};
use uuid::Uuid;

use super::{
    Fault, bad_input,
    caller::{MainCaller, OperatorCaller},
    message_list::DateTimeRange,
    page::{Page, PageArgs},
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
    let mut select = Entity::seen_by_team(main.team_id());
    if filter.actor_key_id.is_some() {
        // An operator's key is not shown to a main account, so it is not looked for either.
        let of_team = [AuditActor::MainAccount, AuditActor::SubAccount];
        select = select.filter(Column::Actor.is_in(of_team));
    }
    list(app, main.into(), select, Some(main.team_id()), filter, page).await
}

/// One page of everything, or of what concerns one team, newest first, for an operator.
pub async fn list_for_operator(
    app: &App,
    _operator: &OperatorCaller,
    team_id: Option<Uuid>,
    filter: &AuditFilter,
    page: &PageArgs,
) -> Result<Page<audit_entry::Model>, Fault> {
    let select = team_id.map_or_else(Entity::find, Entity::of_team);
    list(app, Scope::All, select, team_id, filter, page).await
}

async fn list(
    app: &App,
    scope: Scope,
    mut select: Select<Entity>,
    team_id: Option<Uuid>,
    filter: &AuditFilter,
    page: &PageArgs,
) -> Result<Page<audit_entry::Model>, Fault> {
    let keyset = page.keyset("audit_log")?;
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
        select = select.filter(Column::AccountId.eq(id.unwrap_or_default()));
    }
    if let Some(action) = &filter.action {
        select = select.filter(Column::Action.is_in(action.iter().copied()));
    }
    if let Some(outcome) = &filter.outcome {
        select = select.filter(Column::Outcome.is_in(outcome.iter().copied()));
    }
    if let Some(key_id) = filter.actor_key_id {
        select = select.filter(Column::KeyId.eq(key_id));
    }
    let select = select.filter(filter.created_at.on(Column::CreatedAt));
    keyset.newest_first(&app.read_as(scope), select, Column::Id, |row| row.id).await
}
