//! What any key may see of accounts: its own, and those that its role lets it name.

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
    /// Why an account's sends are refused now.
    pub enum BlockReason {
        /// The status is SUSPENDED.
        Suspended,
        /// The status is INACTIVE.
        Inactive,
        /// totalSpent has reached creditLimit.
        CreditLimit,
        /// The team's balance is 0.
        Balance,
    }
}

/// The account that a row belongs to, with its team.
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

/// What the money looks like from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalanceView {
    /// The team's balance; `None` where it is hidden from the sub-account.
    pub balance: Option<Micros>,
    pub is_sub_account: bool,
    pub total_spent: Option<Micros>,
    pub credit_limit: Option<Micros>,
}

/// An amount of a column: the database holds it within the bound of money.
pub fn stored(micros: i64) -> Micros {
    Micros::new(micros).expect("CHECK constraints keep stored amounts within the bound of money")
}

/// The account that the caller's key belongs to.
pub async fn own(app: &App, caller: &AccountCaller) -> Result<account::Model, Fault> {
    own_in(&app.read_as(caller), caller).await
}

/// The same as a transaction sees it.
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

/// The team of the caller.
pub async fn own_team(app: &App, caller: &AccountCaller) -> Result<team::Model, Fault> {
    team::Entity::find_by_id(caller.team_id)
        .one(&app.read_as(caller))
        .await?
        .ok_or(Fault::Broken("a key's team exists"))
}

/// Whether the caller may see the team's balance (R5).
pub async fn sees_team_balance(app: &App, caller: &AccountCaller) -> Result<bool, Fault> {
    if !caller.is_sub_account {
        return Ok(true);
    }
    Ok(own(app, caller).await?.team_balance_visible)
}

/// The money as the caller's key sees it.
pub async fn balance(app: &App, caller: &AccountCaller) -> Result<BalanceView, Fault> {
    // One moment: a charge moves both together (R7).
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
        balance: is_visible.then(|| stored(team.balance_micros)),
        is_sub_account: account.is_sub_account,
        total_spent: total_spent(&account),
        credit_limit: account.credit_limit_micros.map(stored),
    })
}

/// A sub-account's running total; a main account has none.
pub fn total_spent(account: &account::Model) -> Option<Micros> {
    account.is_sub_account.then(|| stored(account.total_spent_micros))
}

/// What is left of the credit limit, not below zero; `None` without a limit.
pub fn remaining_credit(account: &account::Model) -> Option<Micros> {
    let limit = stored(account.credit_limit_micros?);
    Some(limit.checked_sub(stored(account.total_spent_micros))?.max(Micros::ZERO))
}

/// Every reason why the account's sends are refused now.
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
    .filter_map(|(reason, holds)| holds.then_some(reason))
    .collect()
}

/// The accounts with these ids that are of the caller's team, or any for an operator.
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

/// The main accounts of these teams, as far as the caller may see them.
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
