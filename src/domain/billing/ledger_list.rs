//! Reads the ledger. A sub-account sees its own entries; a main account and an operator see the entries of the whole
//! team.

use entity::ledger_entry::{self, LedgerKind};
use sea_orm::{ColumnTrait, Condition, QueryFilter};

use crate::{
    app::App,
    db::Scope,
    domain::{
        Fault,
        account::AccountRef,
        caller::{AccountCaller, TeamCaller},
        list::{List, is_one_of},
        page::{Page, PageArgs},
        range::DateTimeRange,
    },
};

#[derive(Clone, Debug, Default)]
pub struct LedgerFilter {
    pub kind: Option<Vec<LedgerKind>>,
    /// Only entries of this account of the team. The filter is ignored in the list of a sub-account's own entries.
    pub account: Option<AccountRef>,
    pub created_at: DateTimeRange,
}

/// Returns one page of a whole team's entries, newest first.
pub async fn list_of_team(
    app: &App,
    team: &TeamCaller,
    filter: &LedgerFilter,
    page: &PageArgs,
) -> Result<Page<ledger_entry::Model>, Fault> {
    let mut select = ledger_entry::Entity::of_team(team.team_id());
    if let Some(account) = &filter.account {
        let account = account.find_in(team.team_id(), &app.read_as(team)).await?;
        // If the account is not in the team, the nil id is used. No row has the nil id, so the list is empty.
        let id = account.map(|account| account.id).unwrap_or_default();
        select = select.filter(ledger_entry::Column::AccountId.eq(id));
    }
    list(app, team.into(), select, filter, page).await
}

/// Returns one page of the entries of the caller's account, newest first.
pub async fn list_own(
    app: &App,
    caller: &AccountCaller,
    filter: &LedgerFilter,
    page: &PageArgs,
) -> Result<Page<ledger_entry::Model>, Fault> {
    let select = ledger_entry::Entity::owned_by(caller.account_id);
    list(app, caller.into(), select, filter, page).await
}

async fn list(
    app: &App,
    scope: Scope,
    rows: sea_orm::Select<ledger_entry::Entity>,
    filter: &LedgerFilter,
    page: &PageArgs,
) -> Result<Page<ledger_entry::Model>, Fault> {
    let keyset = page.keyset("ledger")?;
    let is_in_range =
        filter.created_at.on(ledger_entry::Column::Id, ledger_entry::Column::CreatedAt);
    let mut rows = rows.filter(is_in_range);
    let mut condition = Condition::all();
    if let Some(kind) = &filter.kind {
        if !kind.contains(&LedgerKind::Charge) {
            rows = rows.filter(ledger_entry::Entity::is_not_a_charge());
        }
        condition = condition.add(is_one_of(ledger_entry::Column::Kind, kind));
    }
    let list = List::newest_first(rows, ledger_entry::Column::Id, |row| row.id);
    list.filtered(condition).page(&app.read_as(scope), keyset).await
}
