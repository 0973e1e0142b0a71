//! Updates the waiting messages of an account after a change to the account. The change itself is committed
//! immediately; the worker then updates the messages in batches, each a short transaction under the team's lock:
//!
//! - after a deactivation, messages that were accepted with the revoked keys are canceled and refunded;
//! - after a change to the quiet hours, postponed messages are checked against the new hours.
//!
//! The remaining work is stored in the account's row and read under the lock, so a crash loses nothing and two
//! processes never process the same batch. Teams take turns, and so do the accounts of a team.

use std::collections::HashMap;

use entity::account;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, SelectGetableTuple, Selector, sea_query::SimpleExpr,
};
use uuid::Uuid;

use super::quiet_hours;
use crate::{
    app::App,
    domain::{Fault, billing, events::Change},
};

/// The last team that had a batch, and the last account of each team. If this value is lost, the rotation only
/// restarts.
#[derive(Debug, Default)]
pub struct BacklogPosition {
    team: Option<Uuid>,
    accounts: HashMap<Uuid, Uuid>,
}

/// Processes the next batch; `false` if no work is left.
pub async fn step(app: &App, position: &mut BacklogPosition) -> Result<bool, Fault> {
    let Some((team_id, account_id)) = next_account(app, position).await? else { return Ok(false) };
    let txn = app.db.begin_write().await?;
    crate::domain::account::team_lock::lock_team(&txn, team_id)
        .await?
        .ok_or(Fault::Broken("an account's team exists"))?;
    let account = account::Entity::of_team(team_id)
        .filter(account::Column::Id.eq(account_id))
        .one(&txn)
        .await?
        .ok_or(Fault::Broken("an account is never deleted"))?;
    let mut remaining = account::ActiveModel::default();
    let mut canceled = Vec::new();
    if let Some(until) = account.cancel_until {
        let has_more;
        (canceled, has_more) = billing::cancel_waiting(app, &txn, &account).await?;
        remaining.cancel_until = Set(Some(until).filter(|_| has_more));
    } else if let Some(after) = account.quiet_check_after {
        let last = quiet_hours::recheck_postponed(app, &txn, &account, after).await?;
        remaining.quiet_check_after = Set(last);
    } else {
        // Another process has already done the rest of the work.
        txn.rollback().await?;
        return Ok(true);
    }
    account::Entity::update_many()
        .set(remaining)
        .filter(account::Column::Id.eq(account_id))
        .exec(&txn)
        .await?;
    txn.commit().await?;
    let of_message = |id| Change { message_id: Some(id), ..Change::of_account(&account) };
    app.events.publish(canceled.into_iter().map(of_message));
    app.due.notify_one();
    Ok(true)
}

/// Returns the team and the account whose turn it is.
async fn next_account(
    app: &App,
    position: &mut BacklogPosition,
) -> Result<Option<(Uuid, Uuid)>, Fault> {
    let is_after = position.team.map(|team| account::Column::TeamId.gt(team));
    let mut found = pending(is_after).one(&app.db.read).await?;
    if found.is_none() && position.team.is_some() {
        found = pending(None).one(&app.db.read).await?;
    }
    let Some((team_id, mut account_id)) = found else {
        *position = BacklogPosition::default();
        return Ok(None);
    };
    if let Some(last) = position.accounts.get(&team_id) {
        let of_team = account::Column::TeamId.eq(team_id).and(account::Column::Id.gt(*last));
        if let Some((_, next)) = pending(Some(of_team)).one(&app.db.read).await? {
            account_id = next;
        }
    }
    position.team = Some(team_id);
    position.accounts.insert(team_id, account_id);
    Ok(Some((team_id, account_id)))
}

/// Selects the first account with remaining work, in the order of teams and ids.
pub fn pending(filter: Option<SimpleExpr>) -> Selector<SelectGetableTuple<(Uuid, Uuid)>> {
    account::Entity::find()
        .select_only()
        .columns([account::Column::TeamId, account::Column::Id])
        .filter(account::Entity::has_backlog())
        .filter(Condition::all().add_option(filter))
        .order_by_asc(account::Column::TeamId)
        .order_by_asc(account::Column::Id)
        .limit(1)
        .into_tuple()
}
