//! Reading API keys: the caller's own, and pages of the keys of the team's accounts.

use std::collections::HashMap;

use entity::api_key::{self, Role};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Alias, Expr, Query},
};
use uuid::Uuid;

use super::{
    Fault,
    caller::{Caller, MainCaller, OperatorCaller},
    page::{Keyset, Page, PageArgs, Position},
};
use crate::App;

/// The key of the request itself.
pub async fn of_caller(app: &App, caller: &Caller) -> Result<api_key::Model, Fault> {
    api_key::Entity::find_by_id(caller.key_id)
        .one(&app.db.read)
        .await?
        .ok_or(Fault::Broken("a caller's key exists"))
}

/// The keys of a team's main account, or those of the operators, newest first.
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

/// The keys with these ids that the caller may see: its team's, or any for an operator. A sub-account's key
/// is shown none in this way.
pub async fn find_many(
    app: &App,
    caller: &Caller,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, api_key::Model>, Fault> {
    let select = match caller.operator() {
        Ok(_) => api_key::Entity::find(),
        Err(_) => api_key::Entity::of_team(caller.main()?.team_id()),
    };
    let rows = select.filter(api_key::Column::Id.is_in(ids.iter().copied())).all(&app.db.read);
    Ok(rows.await?.into_iter().map(|row| (row.id, row)).collect())
}

/// One page of keys for each of several accounts of the main account's team, in one statement.
pub async fn list_many(
    app: &App,
    main: &MainCaller,
    accounts: &[Uuid],
    page: &PageArgs,
) -> Result<HashMap<Uuid, Page<api_key::Model>>, Fault> {
    let keyset = page.keyset("api_keys")?;
    let rows = ranked_rows(app, main, accounts, &keyset).await?;
    let totals = if keyset.with_total() { totals(app, accounts).await? } else { HashMap::new() };

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
        (*account_id, keyset.page(rows, total, position))
    });
    Ok(pages.collect())
}

/// The rows of each account's page, one more where there are more.
async fn ranked_rows(
    app: &App,
    main: &MainCaller,
    accounts: &[Uuid],
    keyset: &Keyset,
) -> Result<Vec<api_key::Model>, Fault> {
    let reading = keyset.reading_order(&Order::Desc);
    let bounds = keyset.bounds::<api_key::Entity>(&Order::Desc, None, api_key::Column::Id)?;
    let rank = match reading {
        Order::Asc => "ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY id ASC)",
        _ => "ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY id DESC)",
    };
    let ranked = Query::select()
        .expr_as(Expr::col(api_key::Column::Id), Alias::new("id"))
        .expr_as(Expr::cust(rank), Alias::new("rank"))
        .from(api_key::Entity)
        .cond_where(
            Condition::all()
                .add(api_key::Column::TeamId.eq(main.team_id()))
                .add(api_key::Column::AccountId.is_in(accounts.iter().copied()))
                .add(bounds),
        )
        .to_owned();
    let ids = Query::select()
        .column(Alias::new("id"))
        .from_subquery(ranked, Alias::new("ranked"))
        .and_where(Expr::col(Alias::new("rank")).lte(keyset.limit() + 1))
        .to_owned();
    Ok(api_key::Entity::find()
        .filter(api_key::Column::Id.in_subquery(ids))
        .order_by(api_key::Column::Id, reading)
        .all(&app.db.read)
        .await?)
}

async fn totals(app: &App, accounts: &[Uuid]) -> Result<HashMap<Uuid, u64>, Fault> {
    let counts: Vec<(Uuid, i64)> = api_key::Entity::find()
        .select_only()
        .column(api_key::Column::AccountId)
        .column_as(api_key::Column::Id.count(), "total")
        .filter(api_key::Column::AccountId.is_in(accounts.iter().copied()))
        .group_by(api_key::Column::AccountId)
        .into_tuple()
        .all(&app.db.read)
        .await?;
    Ok(counts.into_iter().map(|(id, count)| (id, u64::try_from(count).unwrap_or(0))).collect())
}
