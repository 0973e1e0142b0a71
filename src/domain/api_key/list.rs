//! Reads API keys: the caller's own key, and pages of keys that belong to the accounts of a team.

use std::collections::HashMap;

use entity::{
    account,
    api_key::{self, Role},
};
use sea_orm::{
    ColumnTrait, ConnectionTrait as _, DbBackend, EntityTrait, ExprTrait, JoinType, Order,
    QueryFilter, QueryOrder, QueryResult,
    sea_query::{Asterisk, Expr, Query, SelectStatement},
};
use uuid::Uuid;

use crate::{
    app::App,
    domain::{
        Fault,
        caller::{Caller, MainCaller, OperatorCaller},
        list::TOTAL_MAX,
        page::{Keyset, Page, PageArgs, Position},
    },
};

/// Returns the key that the caller authenticated with.
pub async fn of_caller(app: &App, caller: &Caller) -> Result<api_key::Model, Fault> {
    api_key::Entity::find_by_id(caller.key_id)
        .one(&app.read_as(caller))
        .await?
        .ok_or(Fault::Broken("a caller's key exists"))
}

/// Returns the keys of a team's main account, newest first. Without a team, returns the keys of the operators.
pub async fn list_for_operator(
    app: &App,
    _operator: &OperatorCaller,
    team_id: Option<Uuid>,
) -> Result<Vec<api_key::Model>, Fault> {
    let select = match team_id {
        Some(team_id) => {
            api_key::Entity::of_team(team_id).filter(api_key::Column::Role.eq(Role::MainAccount))
        }
        None => api_key::Entity::of_operators(),
    };
    Ok(select.order_by(api_key::Column::Id, Order::Desc).all(&app.db.read).await?)
}

/// Returns the keys with these ids that the caller may see: the keys of its team, or all keys for an operator.
///
/// # Errors
/// [`Fault::Forbidden`] for a sub-account.
pub async fn find_many(
    app: &App,
    caller: &Caller,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, api_key::Model>, Fault> {
    let select = match caller.operator() {
        Ok(_) => api_key::Entity::find(),
        Err(_) => api_key::Entity::of_team(caller.main()?.team_id()),
    };
    let select = select.filter(api_key::Column::Id.is_in(ids.iter().copied()));
    let rows = select.all(&app.read_as(caller)).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Returns one page of keys for each of several accounts of the team. All pages are read by one statement.
pub async fn list_many(
    app: &App,
    main: &MainCaller,
    accounts: &[Uuid],
    page: &PageArgs,
) -> Result<HashMap<Uuid, Page<api_key::Model>>, Fault> {
    let keyset = page.keyset("api_keys")?;
    let rows = api_key::Entity::of_team(main.team_id())
        .filter(api_key::Column::Id.in_subquery(ids_of_pages(app, main, accounts, &keyset)?))
        .order_by(api_key::Column::Id, keyset.reading_order(&Order::Desc))
        .all(&app.read_as(main))
        .await?;
    let totals =
        if keyset.with_total() { totals(app, main, accounts).await? } else { HashMap::new() };

    let mut by_account: HashMap<Uuid, Vec<api_key::Model>> = HashMap::new();
    for row in rows {
        if let Some(account_id) = row.account_id {
            by_account.entry(account_id).or_default().push(row);
        }
    }
    let pages = accounts.iter().map(|account_id| {
        let rows = by_account.remove(account_id).unwrap_or_default();
        let total = keyset.with_total().then(|| totals.get(account_id).copied().unwrap_or(0));
        let position = |row: &api_key::Model| Position { key: String::new(), id: row.id };
        (*account_id, keyset.page(rows, total, None, position))
    });
    Ok(pages.collect())
}

const ACCOUNTS: &str = "accounts";
const KEYS: &str = "keys";

/// Selects the ids of the keys on each account's page, and one more id if the account has more keys. No other keys are
/// read, because an account can have many revoked keys.
fn ids_of_pages(
    app: &App,
    main: &MainCaller,
    accounts: &[Uuid],
    keyset: &Keyset,
) -> Result<SelectStatement, Fault> {
    let id = Expr::col(api_key::Column::Id);
    let page = keys_of_selected(api_key::Column::Id)
        .cond_where(keyset.bounds::<api_key::Entity>(&Order::Desc, None, &id)?)
        .order_by(api_key::Column::Id, keyset.reading_order(&Order::Desc))
        .limit(keyset.limit() + 1)
        .to_owned();
    let mut selected = selected_accounts(main, accounts);
    selected.column((KEYS, api_key::Column::Id));
    let ids = if app.db.backend() == DbBackend::Postgres {
        selected.join_lateral(JoinType::InnerJoin, page, KEYS, Expr::cust("true"))
    } else {
        let is_of_page = Expr::col((KEYS, api_key::Column::Id)).in_subquery(page);
        selected.join_as(JoinType::InnerJoin, api_key::Entity, KEYS, is_of_page)
    };
    Ok(ids.to_owned())
}

/// Returns the number of keys of each account, at most [`TOTAL_MAX`].
async fn totals(
    app: &App,
    main: &MainCaller,
    accounts: &[Uuid],
) -> Result<HashMap<Uuid, u64>, Fault> {
    let counted = keys_of_selected(api_key::Column::Id).limit(TOTAL_MAX).to_owned();
    let count = Query::select()
        .expr(Expr::col(Asterisk).count())
        .from_subquery(counted, "counted")
        .to_owned();
    let mut totals = selected_accounts(main, accounts);
    totals.column((ACCOUNTS, account::Column::Id));
    totals.expr(Expr::SubQuery(None, Box::new(count.into())));
    let rows = app.read_as(main).query_all(&totals).await?;
    let total = |row: &QueryResult| {
        let count: i64 = row.try_get_by_index(1)?;
        Ok((row.try_get_by_index(0)?, u64::try_from(count).unwrap_or(0)))
    };
    rows.iter().map(total).collect()
}

/// Selects the requested accounts if they belong to the team.
fn selected_accounts(main: &MainCaller, accounts: &[Uuid]) -> SelectStatement {
    Query::select()
        .from_as(account::Entity, ACCOUNTS)
        .and_where(Expr::col((ACCOUNTS, account::Column::TeamId)).eq(main.team_id()))
        .and_where(Expr::col((ACCOUNTS, account::Column::Id)).is_in(accounts.iter().copied()))
        .to_owned()
}

/// Selects a column of the keys that belong to one of [`selected_accounts`].
fn keys_of_selected(column: api_key::Column) -> SelectStatement {
    let is_of_selected =
        Expr::col(api_key::Column::AccountId).equals((ACCOUNTS, account::Column::Id));
    Query::select().column(column).from(api_key::Entity).and_where(is_of_selected).to_owned()
}
