//! Claims due messages. Accounts take turns, and the number of messages is limited by [`CLAIM_CAPACITY`]. This module
//! determines which messages are claimed and which step each of them needs. It must not call carriers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use entity::{
    api_key::Environment,
    message::{self, MessageStatus},
};
use sea_orm::{
    ColumnTrait, Condition, DatabaseTransaction, EntityTrait, FromQueryResult as _, QueryFilter,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{
    Claim, Claimed, Step,
    fair_share::{RoundRobin, Share, split_live_and_test},
    poll::{self, ClaimRequest, Due, PolledRow},
    rotation::{QUEUES, RotationPosition},
};
use crate::{
    app::App,
    db::has_id,
    domain::{Fault, message::quiet_hours},
};

/// Capacity of a claim, in slots. Most messages use one slot. All messages of a claim are submitted to carriers at the
/// same time, so the timeout of one call to a carrier limits the duration of all calls.
pub const CLAIM_CAPACITY: usize = 256;
/// Size of a slot in bytes. A message with longer text uses several slots, because the text is kept in memory and the
/// row is written twice.
const SLOT_BYTES: usize = 32 * 1024;
/// Maximum number of times that one claim distributes its capacity. The distribution is repeated if accounts had fewer
/// messages than their share, or if quiet hours postponed messages.
const PASSES_MAX: usize = 4;
/// How long a claimed message belongs to its worker.
const LEASE: TimeDelta = TimeDelta::seconds(60);

/// Claims due messages under a new lease. SCHEDULED and QUEUED messages whose account may send become SENDING, or are
/// postponed by quiet hours. Expired messages keep their status until they are settled. SENDING messages with an
/// expired lease and SENT messages that are due for a report keep their status too.
pub async fn claim(app: &App) -> Result<Claim, Fault> {
    let now = app.clock.now();
    let mut positions = app.turns.get();
    // The poll comes first, so that an idle server takes no write lock.
    let statement = poll::statement(app.db.backend(), &positions, now);
    let rows = PolledRow::find_by_statement(statement).all(&app.db.read).await?;
    let mut round = Round::of(&rows, now);
    let mut claim = Claim::default();
    if round.has_waiting() {
        let txn = app.db.begin_write().await?;
        let mut changes = Vec::new();
        let mut capacity = CLAIM_CAPACITY;
        for _ in 0..PASSES_MAX {
            let shares = round.distribute(capacity);
            if shares.is_empty() {
                break;
            }
            let taken = poll::take(&txn, &round.requests(&shares), now).await?;
            let due = round.within_shares(&shares, taken);
            changes.extend(due.iter().map(Due::change));
            let due = quiet_hours::postpone(app, &txn, due, now).await?;
            capacity = capacity.saturating_sub(due.iter().map(slots_of).sum());
            claim.messages.extend(lease(app, &txn, due, now).await?);
        }
        txn.commit().await?;
        app.events.publish(changes);
        claim.has_more =
            round.has_waiting() || (!claim.messages.is_empty() && round.is_incomplete());
    }
    round.advance(&mut positions);
    app.turns.set(positions);
    Ok(claim)
}

/// Returns the number of slots that a message uses.
fn slots_of(due: &Due) -> usize {
    usize::try_from(due.bytes).unwrap_or(0).div_ceil(SLOT_BYTES).max(1)
}

/// Gives due messages a new lease.
async fn lease(
    app: &App,
    txn: &DatabaseTransaction,
    due: Vec<Due>,
    now: DateTime<Utc>,
) -> Result<Vec<Claimed>, Fault> {
    use message::Column;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    super::lost_number::clear_lost_numbers(app, txn, &due).await?;
    let lease_id = app.new_id();
    let is_to_be_sent = || {
        let is_valid =
            Condition::any().add(Column::ValidUntil.is_null()).add(Column::ValidUntil.gt(now));
        Condition::all().add(message::Entity::is_unclaimed()).add(is_valid)
    };
    let status =
        Expr::case(is_to_be_sent(), MessageStatus::Sending).finally(Expr::col(Column::Status));
    let updated_at = Expr::case(is_to_be_sent(), now).finally(Expr::col(Column::UpdatedAt));
    let rows = message::Entity::update_many()
        .col_expr(Column::LeaseId, Expr::value(lease_id))
        .col_expr(Column::DueAt, Expr::value(now + LEASE))
        .col_expr(Column::Status, status.into())
        .col_expr(Column::UpdatedAt, updated_at.into())
        .filter(has_id(app.db.backend(), due.iter().map(|row| row.id)))
        .exec_with_returning(txn)
        .await?;
    let mut rows: HashMap<Uuid, message::Model> =
        rows.into_iter().map(|row| (row.id, row)).collect();
    let claimed = due.iter().filter_map(|due| {
        let message = rows.remove(&due.id)?;
        Some(Claimed { message, step: step_of(due, now) })
    });
    Ok(claimed.collect())
}

fn step_of(due: &Due, now: DateTime<Utc>) -> Step {
    match due.status {
        MessageStatus::Scheduled | MessageStatus::Queued if due.is_expired(now) => Step::Expire,
        MessageStatus::Scheduled | MessageStatus::Queued => Step::Send,
        MessageStatus::Sending => Step::Resume,
        _ => Step::Report,
    }
}

/// The rotation during one claim: the accounts with due messages, and those that had a turn.
struct Round {
    /// The waiting accounts of all queues. The index of an account in this list is its number.
    entries: Vec<Entry>,
    queues: [Queue; QUEUES.len()],
}

/// An account with due messages in a queue.
struct Entry {
    queue: usize,
    team_id: Uuid,
    account_id: Uuid,
    is_suspended: bool,
}

struct Queue {
    turns: RoundRobin<Uuid>,
    teams: BTreeMap<Uuid, VisitedTeam>,
    /// The last visited team, if there may be more after it.
    visited_until: Option<Uuid>,
    /// The team that had the last turn.
    last: Option<Uuid>,
}

/// A team that the poll visited.
#[derive(Default)]
struct VisitedTeam {
    /// Number of accounts with due messages.
    due: usize,
    /// The numbers of the accounts that had a turn.
    served: BTreeSet<usize>,
    /// The account that had the last turn.
    last: Option<Uuid>,
    /// The last visited account, if there may be more after it.
    visited_until: Option<Uuid>,
}

impl Round {
    /// Creates a round from the rows of a poll, which must be in order.
    fn of(rows: &[PolledRow], now: DateTime<Utc>) -> Self {
        let mut entries = Vec::new();
        let queues = std::array::from_fn(|queue| {
            let mut teams: BTreeMap<Uuid, VisitedTeam> = BTreeMap::new();
            let mut visited_until = None;
            let mut is_first_part_complete = true;
            let begin = entries.len();
            for row in rows.iter().filter(|row| usize::try_from(row.queue) == Ok(queue)) {
                // If the first part is incomplete, there may be teams between the two parts that were not visited, so
                // the second part is skipped.
                if row.team_part > 0 && !is_first_part_complete {
                    continue;
                }
                let Some(account_id) = row.account_id else {
                    is_first_part_complete = row.team_part > 0;
                    visited_until = Some(row.team_id);
                    continue;
                };
                let team = teams.entry(row.team_id).or_default();
                if row.account_part > 0 && team.visited_until.is_some() {
                    continue;
                }
                if row.is_last {
                    team.visited_until = Some(account_id);
                }
                if row.due_at.is_some_and(|due_at| due_at <= now) {
                    team.due += 1;
                    let is_suspended = row.is_suspended.unwrap_or(false)
                        && matches!(
                            QUEUES[queue].1,
                            MessageStatus::Queued | MessageStatus::Scheduled
                        );
                    let team_id = row.team_id;
                    entries.push(Entry { queue, team_id, account_id, is_suspended });
                }
            }
            let numbered = entries.iter().enumerate().skip(begin);
            let turns = numbered.map(|(number, entry)| (entry.team_id, number, usize::MAX));
            Queue { turns: RoundRobin::of(turns), teams, visited_until, last: None }
        });
        Self { entries, queues }
    }

    /// Returns whether any account is waiting for a turn.
    fn has_waiting(&self) -> bool {
        self.queues.iter().any(|queue| !queue.turns.is_empty())
    }

    /// Returns whether the poll did not visit all teams and accounts.
    fn is_incomplete(&self) -> bool {
        let teams = self.queues.iter().flat_map(|queue| queue.teams.values());
        self.queues.iter().any(|queue| queue.visited_until.is_some())
            || teams.into_iter().any(|team| team.visited_until.is_some())
    }

    /// Distributes capacity between LIVE and TEST, then between the queues of each environment, and then in rotation in
    /// each queue.
    fn distribute(&mut self, capacity: usize) -> Vec<Share<Uuid>> {
        let waiting = |environment: Environment| {
            let queues = self.queues.iter().zip(QUEUES).enumerate();
            let queues = queues
                .filter(move |(_, (queue, (of, _)))| *of == environment && !queue.turns.is_empty());
            queues.map(|(number, _)| (number, number, usize::MAX)).collect::<Vec<_>>()
        };
        let (live, test) = (waiting(Environment::Live), waiting(Environment::Test));
        let (live_capacity, test_capacity) =
            split_live_and_test(capacity, !live.is_empty(), !test.is_empty());
        let mut shares = Vec::new();
        for (queues, capacity) in [(live, live_capacity), (test, test_capacity)] {
            for of_queue in RoundRobin::of(queues).distribute(capacity).0 {
                let capacity = of_queue.members.iter().map(|(_, units)| units).sum();
                let queue = &mut self.queues[of_queue.group];
                let (of_teams, last) = queue.turns.distribute(capacity);
                queue.last = last.or(queue.last);
                shares.extend(of_teams);
            }
        }
        shares
    }

    /// Returns the database requests for these shares.
    fn requests(&self, shares: &[Share<Uuid>]) -> Vec<ClaimRequest> {
        let members = shares.iter().flat_map(|share| &share.members);
        let requests = members.map(|(number, count)| {
            let entry = &self.entries[*number];
            let (environment, status) = QUEUES[entry.queue];
            ClaimRequest {
                number: *number,
                environment,
                status,
                team_id: entry.team_id,
                account_id: entry.account_id,
                is_suspended: entry.is_suspended,
                count: *count,
            }
        });
        requests.collect()
    }

    /// Returns those of the taken messages that fit into the shares, and records which accounts had a turn. A share has
    /// room for at least one message of any size, so a team may exceed its share by one message. The team's other
    /// accounts then get their turns later.
    fn within_shares(&mut self, shares: &[Share<Uuid>], taken: Vec<Due>) -> Vec<Due> {
        let mut by_number: HashMap<usize, Vec<Due>> = HashMap::new();
        for due in taken {
            let number = usize::try_from(due.number).unwrap_or(usize::MAX);
            by_number.entry(number).or_default().push(due);
        }
        let mut within = Vec::new();
        for share in shares {
            let mut team_slots: usize = share.members.iter().map(|(_, count)| count).sum();
            let mut all_had_a_turn = true;
            for (number, count) in &share.members {
                let entry = &self.entries[*number];
                let queue = &mut self.queues[entry.queue];
                let due = by_number.remove(number).unwrap_or_default();
                if due.len() < *count
                    && due.iter().map(slots_of).sum::<usize>() <= (*count).min(team_slots)
                {
                    queue.turns.remove(*number);
                }
                if team_slots == 0 {
                    all_had_a_turn = false;
                    break;
                }
                let mut account_slots = (*count).min(team_slots);
                for due in due {
                    if account_slots == 0 {
                        break;
                    }
                    let slots = slots_of(&due);
                    account_slots = account_slots.saturating_sub(slots);
                    team_slots = team_slots.saturating_sub(slots);
                    within.push(due);
                }
                let team = queue.teams.entry(entry.team_id).or_default();
                team.served.insert(*number);
                team.last = Some(entry.account_id);
            }
            if all_had_a_turn {
                let last = &self.entries[share.last];
                let team = self.queues[last.queue].teams.entry(last.team_id).or_default();
                team.last = Some(last.account_id);
            }
        }
        within
    }

    /// Moves the rotation positions past the accounts and teams that had their turns.
    fn advance(&self, positions: &mut [RotationPosition; QUEUES.len()]) {
        for (queue, position) in self.queues.iter().zip(positions) {
            if queue.visited_until.is_none() {
                position.keep_accounts(|team| queue.teams.contains_key(team));
            }
            for (team_id, team) in &queue.teams {
                let is_served = team.served.len() == team.due;
                if is_served && (team.visited_until.is_some() || !queue.turns.has_waiting(*team_id))
                {
                    position.set_account(*team_id, team.visited_until);
                } else if team.last.is_some() {
                    position.set_account(*team_id, team.last);
                }
            }
            let mut with_due = queue.teams.values().filter(|team| team.due > 0);
            let is_served = with_due.all(|team| !team.served.is_empty());
            let has_waiting = !queue.turns.is_empty();
            let last = queue.last.filter(|_| has_waiting);
            position.set_team(queue.visited_until.filter(|_| is_served).or(last));
        }
    }
}
