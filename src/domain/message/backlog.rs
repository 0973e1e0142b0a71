//! What a change of an account leaves to be done with its messages that wait. The change itself is
//! committed at once, whatever the number of messages; the worker follows in steps, each a short
//! transaction under the lock of the team:
//!
//! - after a deactivation it cancels and refunds what was accepted by the keys of until then (R4, R12);
//! - after a change of the quiet hours it judges again what earlier ones have put off.
//!
//! What is left to be done stands in the account's row, so a crash loses nothing, and each step reads it
//! under the lock, so two processes do no step twice. Teams have their steps in rotation, and accounts of a
//! team too.

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

/// How far the rotation has come: to lose it lets it begin anew, and nothing else.
#[derive(Debug, Default)]
pub struct Place {
    team: Option<Uuid>,
    /// The accounts that had the last step of their teams.
    accounts: HashMap<Uuid, Uuid>,
}

/// Does the next step, and says whether there was any.
pub async fn step(app: &App, place: &mut Place) -> Result<bool, Fault> {
    let Some((team_id, account_id)) = next(app, place).await? else { return Ok(false) };
    let txn = app.db.begin_write().await?;
    crate::domain::account::team_lock::lock_team(&txn, team_id)
        .await?
        .ok_or(Fault::Broken("an account's team exists"))?;
    let account = account::Entity::of_team(team_id)
        .filter(account::Column::Id.eq(account_id))
        .one(&txn)
        .await?
        .ok_or(Fault::Broken("an account is never deleted"))?;
    let mut left = account::ActiveModel::default();
    let mut canceled = Vec::new();
    if let Some(until) = account.cancel_until {
        let has_more;
        (canceled, has_more) = billing::cancel_waiting(app, &txn, &account).await?;
        left.cancel_until = Set(Some(until).filter(|_| has_more));
    } else if let Some(after) = account.quiet_check_after {
        let last = quiet_hours::check_put_off(app, &txn, &account, after).await?;
        left.quiet_check_after = Set(last);
    } else {
        // Another process did it.
        txn.rollback().await?;
        return Ok(true);
    }
    account::Entity::update_many()
        .set(left)
        .filter(account::Column::Id.eq(account_id))
        .exec(&txn)
        .await?;
    txn.commit().await?;
    let of_message = |id| Change { message_id: Some(id), ..Change::of_account(&account) };
    app.events.publish(canceled.into_iter().map(of_message));
    app.due.notify_one();
    Ok(true)
}

/// The account whose step it is.
async fn next(app: &App, place: &mut Place) -> Result<Option<(Uuid, Uuid)>, Fault> {
    let behind = place.team.map(|team| account::Column::TeamId.gt(team));
    let mut found = pending(behind).one(&app.db.read).await?;
    if found.is_none() && place.team.is_some() {
        found = pending(None).one(&app.db.read).await?;
    }
    let Some((team_id, mut account_id)) = found else {
        *place = Place::default();
        return Ok(None);
    };
    if let Some(last) = place.accounts.get(&team_id) {
        let of_team = account::Column::TeamId.eq(team_id).and(account::Column::Id.gt(*last));
        if let Some((_, next)) = pending(Some(of_team)).one(&app.db.read).await? {
            account_id = next;
        }
    }
    place.team = Some(team_id);
    place.accounts.insert(team_id, account_id);
    Ok(Some((team_id, account_id)))
}

/// Accounts of which something is left to be done, in the order of teams: team and id.
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
