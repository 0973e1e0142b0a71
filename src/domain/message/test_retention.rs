//! Deletes TEST messages in any status at the end of their retention period. Their idempotency keys can then be used
//! again. TEST messages are free, so their number and size per account are limited. The account's row contains their
//! number and total size. Both values change under the team's lock, in the same transaction as the messages. The ledger
//! never refers to a TEST message.

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

/// The retention period of a TEST message. It begins at the later of acceptance and `sendAt`, so that a scheduled
/// message is delivered before it is deleted.
pub const TEST_KEPT_FOR: TimeDelta = TimeDelta::days(7);
/// Maximum number of messages in one read, and maximum size in bytes of the text deleted in one transaction. The size
/// is limited because a deletion delays sends of the team, and the database may overwrite the freed pages.
pub const DELETED_TOGETHER_MAX: usize = 500;
const DELETED_BYTES_MAX: i64 = 8 * 1024 * 1024;

/// A TEST message whose retention period has ended.
#[derive(Clone, Copy, Debug, FromQueryResult)]
struct Ended {
    id: Uuid,
    team_id: Uuid,
    account_id: Uuid,
    word_bytes: i32,
    kept_since: DateTime<Utc>,
}

/// The last message of a batch; the next batch begins after it. A message that could not be deleted is skipped until
/// the next round, so that it does not block other messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPosition {
    kept_since: DateTime<Utc>,
    id: Uuid,
}

/// The result of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    pub messages: usize,
    /// The position for the next batch; `None` at the end of the round.
    pub position: Option<RetentionPosition>,
}

/// Selects the TEST messages whose retention period has ended, oldest first, after this position.
pub fn ended(now: DateTime<Utc>, after: Option<RetentionPosition>) -> Select<message::Entity> {
    let kept_since = message::Entity::test_kept_since();
    let is_after = after.map(|RetentionPosition { kept_since: since, id }| {
        // The first condition lets the database use the index.
        let is_later = kept_since.clone().gt(since).or(message::Column::Id.gt(id));
        kept_since.clone().gte(since).and(is_later)
    });
    select_ended()
        .filter(message::Entity::is_test())
        .filter(kept_since.clone().lte(now - TEST_KEPT_FOR))
        .filter(Condition::all().add_option(is_after))
        .order_by(kept_since, Order::Asc)
        .order_by(message::Column::Id, Order::Asc)
}

/// Selects the columns of [`Ended`], without the content.
fn select_ended() -> Select<message::Entity> {
    use message::Column;
    let columns = [Column::Id, Column::TeamId, Column::AccountId, Column::WordBytes];
    let select = message::Entity::find().select_only().columns(columns);
    select.column_as(message::Entity::test_kept_since(), "kept_since")
}

/// Deletes the next batch of TEST messages whose retention period has ended. A message that cannot be deleted does not
/// block other messages or teams.
pub async fn delete_ended(app: &App, after: Option<RetentionPosition>) -> Result<Deleted, Fault> {
    // The messages are read first, so that an idle server takes no write lock.
    let ended = ended(app.clock.now(), after).limit(DELETED_TOGETHER_MAX as u64);
    let found = ended.into_model::<Ended>().all(&app.db.read).await?;
    let is_full = found.len() == DELETED_TOGETHER_MAX;
    let last =
        found.last().map(|last| RetentionPosition { kept_since: last.kept_since, id: last.id });
    let mut by_team: BTreeMap<Uuid, Vec<Ended>> = BTreeMap::new();
    for message in found {
        by_team.entry(message.team_id).or_default().push(message);
    }
    let mut deleted = 0;
    for (team_id, messages) in by_team {
        let mut remaining = parts(&messages);
        remaining.reverse();
        let mut failed = None;
        while let Some(part) = remaining.pop() {
            match delete(app, team_id, part).await {
                Ok(count) => deleted += count,
                // The part is bisected, so that only the messages with an error remain.
                Err(fault) if part.len() > 1 && fault.is_about_a_row() => {
                    let (first, second) = part.split_at(part.len() / 2);
                    remaining.extend([second, first]);
                }
                Err(fault) => {
                    let is_last = !fault.is_about_a_row();
                    failed = Some((part[0].id, fault));
                    if is_last {
                        break;
                    }
                }
            }
        }
        if let Some((message_id, fault)) = failed {
            tracing::error!(
                team.id = %team_id, message.id = %message_id, %fault,
                "TEST messages could not be deleted; message.id is one of them"
            );
        }
    }
    Ok(Deleted { messages: deleted, position: last.filter(|_| is_full) })
}

/// Splits a team's messages into parts that are deleted in one transaction each.
fn parts(messages: &[Ended]) -> Vec<&[Ended]> {
    let mut bytes = 0;
    let mut parts = Vec::new();
    let mut begin = 0;
    for (at, message) in messages.iter().enumerate() {
        bytes += i64::from(message.word_bytes);
        if bytes > DELETED_BYTES_MAX && at > begin {
            parts.push(&messages[begin..at]);
            (begin, bytes) = (at, i64::from(message.word_bytes));
        }
    }
    parts.push(&messages[begin..]);
    parts
}

/// Deletes these messages of a team and returns how many were deleted.
async fn delete(app: &App, team_id: Uuid, messages: &[Ended]) -> Result<usize, Fault> {
    let backend = app.db.backend();
    let txn = app.db.begin_write().await?;
    lock_team(&txn, team_id).await?.ok_or(Fault::Broken("a message's team exists"))?;
    // Messages locked by other transactions are skipped and deleted later, which avoids deadlocks.
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
            .col_expr(Column::TestMessageCount, reduced(Column::TestMessageCount, deleted))
            .col_expr(Column::TestMessageBytes, reduced(Column::TestMessageBytes, deleted))
            .filter(Column::Id.eq(account_id))
            .exec(&txn)
            .await?;
    }
    txn.commit().await?;
    Ok(messages.len())
}

/// Returns the account's count minus the deleted messages. If the stored count is too small, the messages are counted
/// again. This happens if a process of an older version accepted some messages without counting them.
fn reduced(column: account::Column, deleted: TestStored) -> SimpleExpr {
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
    fn each_transaction_deletes_at_most_the_maximum_number_of_bytes() {
        let sizes = |sizes: &[i64]| {
            let messages = sizes.iter().map(|bytes| Ended {
                id: Uuid::nil(),
                team_id: Uuid::nil(),
                account_id: Uuid::nil(),
                word_bytes: i32::try_from(*bytes).expect("a small number"),
                kept_since: DateTime::UNIX_EPOCH,
            });
            let messages: Vec<Ended> = messages.collect();
            parts(&messages).iter().map(|part| part.len()).collect::<Vec<_>>()
        };
        let max = DELETED_BYTES_MAX;
        assert_eq!(sizes(&[max - 1, 1, 0]), [3]);
        assert_eq!(sizes(&[max - 1, 2, 0]), [1, 2]);
        assert_eq!(sizes(&[max, max, 0, 1, 2]), [1, 2, 2]);
        assert_eq!(sizes(&[max + 1, max + 1]), [1, 1]);
    }
}
