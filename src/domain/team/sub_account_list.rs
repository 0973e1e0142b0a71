//! Lists the sub-accounts of a team, with filters, orders and pages. Only the main account sees this list.

use entity::{
    account::{self, AccountStatus},
    team,
};
use sea_orm::{
    ColumnTrait, Condition, DbBackend, EntityTrait, ExprTrait, Order, QueryFilter,
    sea_query::{Expr, SimpleExpr},
};

use crate::{
    app::App,
    domain::{
        Fault,
        caller::MainCaller,
        list::{List, is_one_of},
        page::{OrderKey, Page, PageArgs},
        search,
        validate::METADATA_BYTES_MAX,
    },
};

entity::api_enum! {
    /// Property by which sub-accounts are ordered.
    #[derive(Default)]
    pub enum SubAccountOrderField {
        /// By time of creation.
        #[default]
        CreatedAt,
        /// By name, ignoring case.
        Name,
        /// By totalSpent.
        TotalSpent,
    }
}

#[derive(Clone, Debug, Default)]
pub struct SubAccountFilter {
    pub status: Option<Vec<AccountStatus>>,
    /// Part of the name or the external id, ignoring case.
    pub search: Option<String>,
    pub is_blocked: Option<bool>,
    /// The account's metadata has this text value under this key.
    pub metadata: Option<(String, String)>,
}

/// Returns one page of the team's sub-accounts.
pub async fn list(
    app: &App,
    main: &MainCaller,
    filter: &SubAccountFilter,
    field: SubAccountOrderField,
    is_ascending: bool,
    page: &PageArgs,
) -> Result<Page<account::Model>, Fault> {
    let order = if is_ascending { Order::Asc } else { Order::Desc };
    let keyset = page.keyset(list_name(field, &order))?;
    let rows =
        account::Entity::of_team(main.team_id()).filter(account::Column::IsSubAccount.eq(true));
    let conditions = condition(app, main, filter).await?;
    let key = match field {
        SubAccountOrderField::CreatedAt => None,
        SubAccountOrderField::Name => Some(OrderKey {
            column: account::Column::SearchText,
            of: |row: &account::Model| row.search_text.clone(),
            value: |key| Some(key.into()),
            has_index: true,
        }),
        SubAccountOrderField::TotalSpent => Some(OrderKey {
            column: account::Column::TotalSpentMicros,
            of: |row: &account::Model| row.total_spent_micros.to_string(),
            value: |key| key.parse::<i64>().ok().map(Into::into),
            // There is no index for this order, because every charge would have to update such an index.
            has_index: false,
        }),
    };
    let list = List::newest_first(rows, account::Column::Id, |row| row.id);
    let mut list = list.ordered(order, key).filtered(conditions);
    if filter.metadata.is_some() {
        list = list.with_slow_filter();
    }
    list.page(&app.read_as(main), keyset).await
}

/// Returns the name of the list in cursors. A cursor is valid for one order only.
fn list_name(field: SubAccountOrderField, order: &Order) -> &'static str {
    match (field, order) {
        (SubAccountOrderField::CreatedAt, Order::Asc) => "sub_accounts:created_at:asc",
        (SubAccountOrderField::CreatedAt, _) => "sub_accounts:created_at:desc",
        (SubAccountOrderField::Name, Order::Asc) => "sub_accounts:name:asc",
        (SubAccountOrderField::Name, _) => "sub_accounts:name:desc",
        (SubAccountOrderField::TotalSpent, Order::Asc) => "sub_accounts:total_spent:asc",
        (SubAccountOrderField::TotalSpent, _) => "sub_accounts:total_spent:desc",
    }
}

async fn condition(
    app: &App,
    main: &MainCaller,
    filter: &SubAccountFilter,
) -> Result<Condition, Fault> {
    let mut all = Condition::all();
    if let Some(status) = &filter.status {
        all = all.add(is_one_of(account::Column::Status, status));
    }
    if let Some(search) = &filter.search {
        let searched = Expr::col(account::Column::SearchText);
        all = all.add(search::holds(app.db.backend(), searched, search)?);
    }
    if let Some(is_blocked) = filter.is_blocked {
        let blocked = blocked(app, main).await?;
        all = all.add(if is_blocked { blocked } else { blocked.not() });
    }
    if let Some((key, value)) = &filter.metadata {
        // This is the size of the smallest metadata with this key and value. If the size is too large, no account can
        // match.
        let is_too_long = key.len() + value.len() + r#"{"":""}"#.len() > METADATA_BYTES_MAX;
        if is_too_long || key.contains('\0') || value.contains('\0') {
            return Ok(Condition::all().add(Expr::cust("1 = 0")));
        }
        all = all.add(metadata_holds(app.db.backend(), key, value));
    }
    Ok(all)
}

/// Matches accounts that are blocked for one of the reasons in [`crate::domain::account::blocked_by`].
async fn blocked(app: &App, main: &MainCaller) -> Result<Condition, Fault> {
    let team = team::Entity::find_by_id(main.team_id())
        .one(&app.read_as(main))
        .await?
        .ok_or(Fault::Broken("a key's team exists"))?;
    if team.balance_micros == 0 {
        return Ok(Condition::any().add(Expr::cust("1 = 1")));
    }
    let is_at_limit = Condition::all().add(account::Column::CreditLimitMicros.is_not_null()).add(
        Expr::col(account::Column::TotalSpentMicros)
            .gte(Expr::col(account::Column::CreditLimitMicros)),
    );
    Ok(Condition::any().add(account::Column::Status.ne(AccountStatus::Active)).add(is_at_limit))
}

/// Returns the condition that the metadata has the text `value` under `key`.
fn metadata_holds(backend: DbBackend, key: &str, value: &str) -> SimpleExpr {
    match backend {
        DbBackend::Postgres => Expr::cust_with_values(
            "json_typeof(metadata::json -> $1) = 'string' AND metadata::json ->> $1 = $2",
            [key, value],
        ),
        _ => Expr::cust_with_values(
            "EXISTS (SELECT 1 FROM json_each(metadata) AS entry \
             WHERE entry.key = ? AND entry.type = 'text' AND entry.value = ?)",
            [key, value],
        ),
    }
}
