//! The renewals of phone numbers: each month that begins is charged once, over the credit limit but
//! never below a zero balance (R8). A number whose month cannot be paid is SUSPENDED; it is paid
//! for and ACTIVE again as soon as the balance allows it, and goes back to the inventory after the
//! grace. An INACTIVE account spends nothing (R20): to its numbers the balance allows no month.
//!
//! What is due stands in the rows, so a restart loses nothing; months that passed meanwhile are
//! charged one a day. So a clock that is years ahead charges one month of a number early, at most. Each number is
//! looked at again under the lock of its team, so no two processes charge a month, and the ledger's unique index is the
//! wall behind that.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    account::{self, AccountStatus},
    phone_number::{self, Column, Entity, PhoneNumberStatus},
    team,
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{Expr, Query},
};
use uuid::Uuid;

use super::{give_back, month_after, references, write};
use crate::{
    app::App,
    db::has_id,
    domain::{Fault, account::team_lock::lock_team, billing::NumberFees, events::Change},
};

/// How long a number whose month could not be paid is kept for its account.
pub const GRACE: TimeDelta = TimeDelta::days(7);
/// How long after a month of a number the next one is charged at the earliest.
pub const MONTHS_APART: TimeDelta = TimeDelta::days(1);
/// Numbers that are looked at together.
pub const RENEWED_TOGETHER_MAX: u64 = 100;

/// When a number is given back whose month is not paid by then.
pub fn releases_at(number: &phone_number::Model) -> Option<DateTime<Utc>> {
    number.suspended_at.map(|since| since + GRACE)
}

/// Where a look at what is due goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    renews_at: DateTime<Utc>,
    id: Uuid,
}

/// Sees to the next numbers that are due; `None` if there are none after `after`. A team that
/// cannot be seen to does not hold up the others, and is looked at again from the start.
pub async fn renew(app: &App, after: Option<Place>) -> Result<Option<Place>, Fault> {
    let now = app.clock.now();
    let due = due(now, after).limit(RENEWED_TOGETHER_MAX).all(&app.db.read).await?;
    let last = due.last().map(|row| Place { renews_at: row.renews_at, id: row.id });
    let mut by_team: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for row in due {
        by_team.entry(row.team_id).or_default().push(row.id);
    }
    for (team_id, numbers) in by_team {
        if let Err(fault) = renew_of_team(app, team_id, numbers, now).await {
            tracing::error!(team.id = %team_id, %fault, "A team's numbers could not be renewed");
        }
    }
    Ok(last)
}

/// Numbers for which something is to be done: a month has begun that is to be charged, or can be
/// now, or is not to be waited for any longer.
pub fn due(now: DateTime<Utc>, after: Option<Place>) -> Select<Entity> {
    // One question of both tables, which is asked of each number: two would let PostgreSQL read all
    // accounts to answer the one.
    let can_be_paid = Query::select()
        .expr(Expr::value(1))
        .from(account::Entity)
        .inner_join(
            team::Entity,
            Expr::col((team::Entity, team::Column::Id))
                .equals((account::Entity, account::Column::TeamId)),
        )
        .and_where(
            Expr::col((account::Entity, account::Column::Id)).equals((Entity, Column::AccountId)),
        )
        .and_where(account::Column::Status.ne(AccountStatus::Inactive))
        .and_where(
            Expr::col((team::Entity, team::Column::BalanceMicros))
                .gte(Expr::col((Entity, Column::MonthlyPriceMicros))),
        )
        .to_owned();
    let is_for_now = Condition::any()
        .add(Column::Status.eq(PhoneNumberStatus::Active))
        .add(Column::SuspendedAt.lte(now - GRACE))
        .add(Expr::exists(can_be_paid));
    let mut select = Entity::find()
        .filter(Entity::is_held())
        .filter(Column::RenewsAt.lte(now))
        .filter(was_not_just_charged(now))
        .filter(is_for_now);
    if let Some(Place { renews_at, id }) = after {
        let same = Column::RenewsAt.eq(renews_at).and(Column::Id.gt(id));
        select = select.filter(Condition::any().add(Column::RenewsAt.gt(renews_at)).add(same));
    }
    select.order_by_asc(Column::RenewsAt).order_by_asc(Column::Id)
}

/// Whether the number's last month was not charged within [`MONTHS_APART`]. A moment in the future is one of a clock
/// that was ahead then.
fn was_not_just_charged(now: DateTime<Utc>) -> Condition {
    Condition::any().add(Column::ChargedAt.lte(now - MONTHS_APART)).add(Column::ChargedAt.gt(now))
}

async fn renew_of_team(
    app: &App,
    team_id: Uuid,
    numbers: Vec<Uuid>,
    now: DateTime<Utc>,
) -> Result<(), Fault> {
    let txn = app.db.begin_write().await?;
    let team = lock_team(&txn, team_id).await?;
    let team = team.ok_or(Fault::Broken("an account's team exists"))?;
    let numbers = Entity::of_team(team_id)
        .filter(has_id(app.db.backend(), numbers))
        .filter(Entity::is_held())
        .filter(Column::RenewsAt.lte(now))
        .filter(was_not_just_charged(now))
        .order_by_asc(Column::RenewsAt)
        .order_by_asc(Column::Id)
        .all(&txn)
        .await?;
    let accounts: HashMap<Uuid, account::Model> = account::Entity::of_team(team_id)
        .filter(account::Column::Id.is_in(numbers.iter().map(|number| number.account_id)))
        .all(&txn)
        .await?
        .into_iter()
        .map(|row| (row.id, row))
        .collect();

    let mut fees = NumberFees::of(app, &team);
    let mut changes = Vec::new();
    let mut released = Vec::new();
    for number in &numbers {
        let account = accounts
            .get(&number.account_id)
            .ok_or(Fault::Broken("a number's account is of its team"))?;
        let may_pay = account.status != AccountStatus::Inactive;
        if may_pay && fees.renew(account, number)? {
            changes.push(Change::of_account(account));
            set_renewed(app, &txn, number).await?;
        } else if number.suspended_at.is_none() {
            set_suspended(app, &txn, number).await?;
        } else if releases_at(number).is_some_and(|at| at <= now) {
            released.push(number);
        }
    }
    // The inventory's rows are locked in the order of numbers, as an import locks them.
    released.sort_by(|one, other| one.number.cmp(&other.number));
    for number in released {
        tracing::info!(phone_number.id = %number.id, "A phone number goes back to the inventory");
        references::detach(app, &txn, number).await?;
        give_back(app, &txn, number).await?;
    }
    fees.write(&txn).await?;
    txn.commit().await?;
    for account_id in accounts.keys() {
        app.senders.forget(*account_id);
    }
    app.events.publish(changes);
    Ok(())
}

async fn set_renewed(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<(), Fault> {
    let months_paid = number.months_paid + 1;
    let to = phone_number::ActiveModel {
        status: Set(PhoneNumberStatus::Active),
        suspended_at: Set(None),
        months_paid: Set(months_paid),
        charged_at: Set(app.clock.now()),
        renews_at: Set(month_after(number.created_at, months_paid)?),
        ..Default::default()
    };
    write(app, txn, number, to).await?;
    Ok(())
}

async fn set_suspended(
    app: &App,
    txn: &DatabaseTransaction,
    number: &phone_number::Model,
) -> Result<(), Fault> {
    tracing::info!(phone_number.id = %number.id, "A phone number's month could not be paid");
    let to = phone_number::ActiveModel {
        status: Set(PhoneNumberStatus::Suspended),
        suspended_at: Set(Some(app.clock.now())),
        ..Default::default()
    };
    write(app, txn, number, to).await?;
    Ok(())
}
