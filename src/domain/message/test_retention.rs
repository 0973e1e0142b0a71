//! TEST messages cost nothing, so what an account stores of them is bounded, and they end: the worker deletes each
//! some days after it was accepted, whatever its status, and its idempotency key is free again. The counts are
//! kept on the account's row, under the team's lock, in the statements that accept and delete the messages.
//! Money never refers to a TEST message (R14), so nothing else is deleted with one.

use crate::domain::billing::test_storage::TestStored;
use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use entity::{account, message};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, FromQueryResult, Order, QueryFilter,
    QueryOrder, QuerySelect, Select,
    sea_query::{Expr, LockBehavior, LockType, SimpleExpr},
};
use uuid::Uuid;

use crate::{
    app::App,
    db::has_id,
    domain::{Fault, account::team_lock::lock_team},
};

/// How long a TEST message is kept, from when it was accepted or, if that is later, from its `sendAt`: so it can
/// be scheduled like a LIVE one, and its delivery is always seen.
pub const TEST_KEPT_FOR: TimeDelta = TimeDelta::days(7);
/// Messages that are deleted together at most, and the bytes of their words: the database holds up accepting
/// meanwhile, and may overwrite what it frees.
pub const DELETED_TOGETHER_MAX: usize = 500;
const DELETED_BYTES_MAX: i64 = 8 * 1024 * 1024;

/// A TEST message whose time is over.
#[derive(Clone, Copy, Debug, FromQueryResult)]
struct Ended {
    id: Uuid,
    team_id: Uuid,
    account_id: Uuid,
    word_bytes: i32,
    kept_since: DateTime<Utc>,
}

/// Where a message stands among those whose time is over. What could not be deleted is left behind there until the next
/// round, so that it is in the way of no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    kept_since: DateTime<Utc>,
    id: Uuid,
}

/// What one look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub messages: usize,
    /// Where the next look goes on; `None` at the end of the round.
    pub place: Option<Place>,
}

/// The TEST messages whose time is over, those first whose time was over first, behind this place.
pub fn ended(now: DateTime<Utc>, place: Option<Place>) -> Select<message::Entity> {
    let kept_since = message::Entity::test_kept_since();
    let behind = place.map(|Place { kept_since: since, id }| {
        // The first is what the index goes by.
        let is_later = kept_since.clone().gt(since).or(message::Column::Id.gt(id));
        kept_since.clone().gte(since).and(is_later)
    });
    select_ended()
        .filter(message::Entity::is_test())
        .filter(kept_since.clone().lte(now - TEST_KEPT_FOR))
        .filter(Condition::all().add_option(behind))
        .order_by(kept_since, Order::Asc)
        .order_by(message::Column::Id, Order::Asc)
}

/// Their columns: the texts are not read.
fn select_ended() -> Select<message::Entity> {
    use message::Column;
    let columns = [Column::Id, Column::TeamId, Column::AccountId, Column::WordBytes];
    let select = message::Entity::find().select_only().columns(columns);
    select.column_as(message::Entity::test_kept_since(), "kept_since")
}

/// Deletes the next TEST messages whose time is over. What cannot be deleted holds up nothing else: neither other
/// messages of its team nor other teams.
pub async fn delete_ended(app: &App, place: Option<Place>) -> Result<Deleted, Fault> {
    // A look first: an idle server takes no write lock.
    let ended = ended(app.clock.now(), place).limit(DELETED_TOGETHER_MAX as u64);
    let seen = ended.into_model::<Ended>().all(&app.db.read).await?;
    let is_full = seen.len() == DELETED_TOGETHER_MAX;
    let last = seen.last().map(|last| Place { kept_since: last.kept_since, id: last.id });
    let mut by_team: BTreeMap<Uuid, Vec<Ended>> = BTreeMap::new();
    for message in seen {
        by_team.entry(message.team_id).or_default().push(message);
    }
    let mut deleted = 0;
    for (team_id, messages) in by_team {
        let mut left = steps(&messages);
        left.reverse();
        let mut failed = None;
        while let Some(step) = left.pop() {
            match delete(app, team_id, step).await {
                Ok(count) => deleted += count,
                // All but the messages at fault are deleted.
                Err(fault) if step.len() > 1 && fault.is_about_a_row() => {
                    let (first, second) = step.split_at(step.len() / 2);
                    left.extend([second, first]);
                }
                Err(fault) => {
                    let is_last = !fault.is_about_a_row();
                    failed = Some((step[0].id, fault));
                    if is_last {
                        break;
                    }
                }
            }
        }
        if let Some((message_id, fault)) = failed {
            tracing::error!(
                team.id = %team_id, message.id = %message_id, %fault,
                "TEST messages could not be deleted; one of them is named"
            );
        }
    }
    Ok(Deleted { messages: deleted, place: last.filter(|_| is_full) })
}

/// Parts of a team's messages that are deleted in one transaction each.
fn steps(messages: &[Ended]) -> Vec<&[Ended]> {
    let mut bytes = 0;
    let mut steps = Vec::new();
    let mut begin = 0;
    for (at, message) in messages.iter().enumerate() {
        bytes += i64::from(message.word_bytes);
        if bytes > DELETED_BYTES_MAX && at > begin {
            steps.push(&messages[begin..at]);
            (begin, bytes) = (at, i64::from(message.word_bytes));
        }
    }
    steps.push(&messages[begin..]);
    steps
}

/// Deletes these messages of a team, as far as they are there, and says how many.
async fn delete(app: &App, team_id: Uuid, messages: &[Ended]) -> Result<usize, Fault> {
    let backend = app.db.backend();
    let txn = app.db.begin_write().await?;
    lock_team(&txn, team_id).await?.ok_or(Fault::Broken("a message's team exists"))?;
    // Those that others hold have their turn later: a deadlock would end whichever transaction it meets.
    let messages = select_ended()
        .filter(has_id(backend, messages.iter().map(|message| message.id)))
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_model::<Ended>()
        .all(&txn)
        .await?;
    let mut by_account: BTreeMap<Uuid, TestStored> = BTreeMap::new();
    for message in &messages {
        let stored = by_account.entry(message.account_id).or_default();
        *stored = stored.with(message.word_bytes.into());
    }
    message::Entity::delete_many()
        .filter(has_id(backend, messages.iter().map(|message| message.id)))
        .exec(&txn)
        .await?;
    for (account_id, deleted) in by_account {
        use account::Column;
        account::Entity::update_many()
            .col_expr(Column::TestMessageCount, less(Column::TestMessageCount, deleted))
            .col_expr(Column::TestMessageBytes, less(Column::TestMessageBytes, deleted))
            .filter(Column::Id.eq(account_id))
            .exec(&txn)
            .await?;
    }
    txn.commit().await?;
    Ok(messages.len())
}

/// What an account's row counts less what was deleted. If it counts less than that, its messages are counted again:
/// a process of a version that counts nothing has accepted some since the counts were introduced.
fn less(column: account::Column, deleted: TestStored) -> SimpleExpr {
    use account::Column;
    let (by, counted) = match column {
        Column::TestMessageCount => (deleted.messages, "COUNT(*)"),
        _ => (deleted.bytes, "CAST(COALESCE(SUM(m.word_bytes), 0) AS BIGINT)"),
    };
    let counted_again = Expr::cust(format!(
        "(SELECT {counted} FROM message m WHERE m.account_id = account.id AND m.environment = 'TEST')"
    ));
    let is_too_little = Expr::col(Column::TestMessageCount)
        .lt(deleted.messages)
        .or(Expr::col(Column::TestMessageBytes).lt(deleted.bytes));
    Expr::case(is_too_little, counted_again).finally(Expr::col(column).sub(by)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_as_many_bytes_as_may_be_deleted_together() {
        let sizes = |sizes: &[i64]| {
            let messages = sizes.iter().map(|bytes| Ended {
                id: Uuid::nil(),
                team_id: Uuid::nil(),
                account_id: Uuid::nil(),
                word_bytes: i32::try_from(*bytes).expect("a small number"),
                kept_since: DateTime::UNIX_EPOCH,
            });
            let messages: Vec<Ended> = messages.collect();
            steps(&messages).iter().map(|step| step.len()).collect::<Vec<_>>()
        };
        let most = DELETED_BYTES_MAX;
        assert_eq!(sizes(&[most - 1, 1, 0]), [3]);
        assert_eq!(sizes(&[most - 1, 2, 0]), [1, 2]);
        assert_eq!(sizes(&[most, most, 0, 1, 2]), [1, 2, 2]);
        assert_eq!(sizes(&[most + 1, most + 1]), [1, 1]);
    }
}
