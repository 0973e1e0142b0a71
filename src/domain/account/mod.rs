//! Reads accounts: the caller's own account, and the other accounts that the caller's role may see.

use std::collections::HashMap;

use entity::{
    account::{self, AccountStatus},
    team,
};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::{
    Fault,
    caller::{AccountCaller, Caller, LiveAccountCaller},
};
use crate::{app::App, db::Scope, money::Micros};

pub mod reference;
pub mod team_lock;

pub use reference::AccountRef;

entity::api_enum! {
    /// Reason why an account cannot currently send messages.
    pub enum BlockReason {
        /// The status of the account is SUSPENDED.
        Suspended,
        /// The status of the account is INACTIVE.
        Inactive,
        /// The totalSpent of the account has reached its creditLimit.
        CreditLimit,
        /// The balance of the team is 0.
        Balance,
    }
}

/// The account and the team that a row belongs to.
#[derive(Clone, Copy, Debug)]
pub struct AccountIds {
    pub team_id: Uuid,
    pub account_id: Uuid,
}

impl From<&LiveAccountCaller> for AccountIds {
    fn from(caller: &LiveAccountCaller) -> Self {
        Self { team_id: caller.team_id(), account_id: caller.account_id() }
    }
}

impl From<&AccountCaller> for AccountIds {
    fn from(caller: &AccountCaller) -> Self {
        Self { team_id: caller.team_id, account_id: caller.account_id }
    }
}

impl From<AccountIds> for Scope {
    fn from(AccountIds { team_id, account_id }: AccountIds) -> Self {
        Self::Account { team_id, account_id }
    }
}

impl From<&account::Model> for AccountIds {
    fn from(account: &account::Model) -> Self {
        Self { team_id: account.team_id, account_id: account.id }
    }
}

/// The balance and the limits that a key may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceView {
    /// The team's balance; `None` if it is hidden from the sub-account.
    pub balance: Option<Micros>,
    pub is_sub_account: bool,
    pub total_spent: Option<Micros>,
    pub credit_limit: Option<Micros>,
}

/// Returns the account that the caller's key belongs to.
pub async fn own(app: &App, caller: &AccountCaller) -> Result<account::Model, Fault> {
    own_in(&app.read_as(caller), caller).await
}

/// Does the same as [`own`] in a transaction.
pub(super) async fn own_in<C: ConnectionTrait>(
    db: &C,
    caller: &AccountCaller,
) -> Result<account::Model, Fault> {
    account::Entity::of_team(caller.team_id)
        .filter(account::Column::Id.eq(caller.account_id))
        .one(db)
        .await?
        .ok_or(Fault::Broken("a key's account exists"))
}

/// Returns the caller's team.
pub async fn own_team(app: &App, caller: &AccountCaller) -> Result<team::Model, Fault> {
    team::Entity::find_by_id(caller.team_id)
        .one(&app.read_as(caller))
        .await?
        .ok_or(Fault::Broken("a key's team exists"))
}

/// Returns whether the caller may see the team's balance. A main account may always see it; a sub-account may see it if
/// this is enabled for the sub-account.
pub async fn sees_team_balance(app: &App, caller: &AccountCaller) -> Result<bool, Fault> {
    if !caller.is_sub_account {
        return Ok(true);
    }
    Ok(own(app, caller).await?.team_balance_visible)
}

/// Returns the balance and the limits that the caller's key may see.
pub async fn balance(app: &App, caller: &AccountCaller) -> Result<BalanceView, Fault> {
    // Both rows are read in one snapshot, because a charge changes the balance and the total at the same time.
    let txn = app.read_as(caller).snapshot().await?;
    let account = account::Entity::of_team(caller.team_id)
        .filter(account::Column::Id.eq(caller.account_id))
        .one(&txn)
        .await?
        .ok_or(Fault::Broken("a key's account exists"))?;
    let team = team::Entity::find_by_id(caller.team_id)
        .one(&txn)
        .await?
        .ok_or(Fault::Broken("a key's team exists"))?;
    txn.end().await?;
    let is_visible = !account.is_sub_account || account.team_balance_visible;
    Ok(BalanceView {
        balance: is_visible.then(|| Micros::from_db(team.balance_micros)),
        is_sub_account: account.is_sub_account,
        total_spent: total_spent(&account),
        credit_limit: account.credit_limit_micros.map(Micros::from_db),
    })
}

/// Returns a sub-account's `totalSpent`; `None` for a main account.
pub fn total_spent(account: &account::Model) -> Option<Micros> {
    account.is_sub_account.then(|| Micros::from_db(account.total_spent_micros))
}

/// Returns the remaining credit, which is at least zero; `None` if the account has no limit.
pub fn remaining_credit(account: &account::Model) -> Option<Micros> {
    let limit = Micros::from_db(account.credit_limit_micros?);
    Some(limit.checked_sub(Micros::from_db(account.total_spent_micros))?.max(Micros::ZERO))
}

/// Returns all reasons why the account cannot currently send.
pub fn blocked_by(account: &account::Model, team_balance: Micros) -> Vec<BlockReason> {
    let is_at_limit =
        account.credit_limit_micros.is_some_and(|limit| account.total_spent_micros >= limit);
    [
        (BlockReason::Suspended, account.status == AccountStatus::Suspended),
        (BlockReason::Inactive, account.status == AccountStatus::Inactive),
        (BlockReason::CreditLimit, is_at_limit),
        (BlockReason::Balance, team_balance == Micros::ZERO),
    ]
    .into_iter()
    .filter_map(|(reason, applies)| applies.then_some(reason))
    .collect()
}

/// Returns the accounts with these ids that the caller may see: the accounts of its team, or all accounts for an
/// operator.
pub async fn find_many(
    app: &App,
    caller: &Caller,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, account::Model>, Fault> {
    let rows = account::Entity::find()
        .filter(account::Column::Id.is_in(ids.iter().copied()))
        .filter(in_scope(caller))
        .all(&app.read_as(caller))
        .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Returns the main accounts of those of these teams that the caller may see.
pub async fn find_main(
    app: &App,
    caller: &Caller,
    teams: &[Uuid],
) -> Result<HashMap<Uuid, account::Model>, Fault> {
    let rows = account::Entity::find()
        .filter(account::Column::TeamId.is_in(teams.iter().copied()))
        .filter(account::Column::IsSubAccount.eq(false))
        .filter(in_scope(caller))
        .all(&app.read_as(caller))
        .await?;
    Ok(rows.into_iter().map(|row| (row.team_id, row)).collect())
}

fn in_scope(caller: &Caller) -> Condition {
    Condition::all()
        .add_option(caller.team_scope().map(|team_id| account::Column::TeamId.eq(team_id)))
}
