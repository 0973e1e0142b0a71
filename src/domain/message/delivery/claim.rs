//! Claims due messages by turns.

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
    fair_share::{Share, Turns, live_and_test},
    poll::{self, Due, Seen, Wanted},
    rotation::{LINES, RotationPosition},
};
use crate::{
    app::App,
    db::has_id,
    domain::{Fault, message::quiet_hours},
};

/// Room of a claim: messages that are claimed together. Their carriers are called all at once, so that the
/// deadline of one call bounds them all.
pub const ROOM: usize = 256;
/// A message with longer texts takes the room of several: all are written twice and held in memory.
const BYTES_OF_ONE: usize = 32 * 1024;
/// How often one claim shares its room out: again, where some had less than their share, or quiet hours have
/// put off what was found.
const PASSES_MAX: usize = 4;
/// How long a claimed message belongs to its worker.
const LEASE: TimeDelta = TimeDelta::seconds(60);

/// Claims due messages: SCHEDULED and QUEUED ones whose account may send (R4) become SENDING under a
/// new lease, or are put off where the account has its quiet hours; those whose time is over keep
/// their status and get a lease to expire under; SENDING ones whose lease ran out and SENT ones get a
/// new lease.
pub async fn claim(app: &App) -> Result<Claim, Fault> {
    let now = app.clock.now();
    let mut positions = app.turns.now();
    // A look first: an idle server takes no write lock.
    let look = poll::statement(app.db.backend(), &positions, now);
    let seen = Seen::find_by_statement(look).all(&app.db.read).await?;
    let mut round = Round::of(&seen, now);
    let mut claim = Claim::default();
    if round.waits() {
        let txn = app.db.begin_write().await?;
        let mut changes = Vec::new();
        let mut room = ROOM;
        for _ in 0..PASSES_MAX {
            let shares = round.share(room);
            if shares.is_empty() {
                break;
            }
            let taken = poll::take(&txn, &round.wanted(&shares), now).await?;
            let due = round.within(&shares, taken);
            changes.extend(due.iter().map(Due::change));
            let due = quiet_hours::put_off(app, &txn, due, now).await?;
            room = room.saturating_sub(due.iter().map(room_of).sum());
            claim.messages.extend(lease(app, &txn, due, now).await?);
        }
        txn.commit().await?;
        app.events.publish(changes);
        claim.has_more = round.waits() || (!claim.messages.is_empty() && round.is_part());
    }
    round.go_on(&mut positions);
    app.turns.set(positions);
    Ok(claim)
}

/// The room that a message takes.
fn room_of(due: &Due) -> usize {
    usize::try_from(due.bytes).unwrap_or(0).div_ceil(BYTES_OF_ONE).max(1)
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
    super::lost_number::drop_lost(app, txn, &due).await?;
    let lease_id = app.new_id();
    let goes_out = || {
        let is_in_time =
            Condition::any().add(Column::ValidUntil.is_null()).add(Column::ValidUntil.gt(now));
        Condition::all().add(message::Entity::is_unclaimed()).add(is_in_time)
    };
    let status = Expr::case(goes_out(), MessageStatus::Sending).finally(Expr::col(Column::Status));
    let updated_at = Expr::case(goes_out(), now).finally(Expr::col(Column::UpdatedAt));
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
        MessageStatus::Scheduled | MessageStatus::Queued if due.is_over(now) => Step::Expire,
        MessageStatus::Scheduled | MessageStatus::Queued => Step::Send,
        MessageStatus::Sending => Step::Resume,
        _ => Step::Report,
    }
}

/// One claim's turns: who waits, and who had a turn.
struct Round {
    /// The accounts that wait in lines, by their numbers.
    entries: Vec<Entry>,
    lines: [Line; LINES.len()],
}

struct Entry {
    line: usize,
    team_id: Uuid,
    account_id: Uuid,
    is_suspended: bool,
}

struct Line {
    turns: Turns<Uuid>,
    teams: BTreeMap<Uuid, Passed>,
    /// The last team that was passed, if there may be more.
    passed_until: Option<Uuid>,
    /// The team that had the last turn.
    last: Option<Uuid>,
}

/// A team that a look passed.
#[derive(Default)]
struct Passed {
    /// Accounts with due messages.
    due: usize,
    /// Those that had a turn, by their numbers, and which had the last one.
    served: BTreeSet<usize>,
    last: Option<Uuid>,
    /// The last account that was passed, if there may be more.
    passed_until: Option<Uuid>,
}

impl Round {
    /// Of what a look saw, in its order.
    fn of(seen: &[Seen], now: DateTime<Utc>) -> Self {
        let mut entries = Vec::new();
        let lines = std::array::from_fn(|line| {
            let mut teams: BTreeMap<Uuid, Passed> = BTreeMap::new();
            let mut passed_until = None;
            let mut is_first_part_whole = true;
            let begin = entries.len();
            for row in seen.iter().filter(|row| usize::try_from(row.line) == Ok(line)) {
                // There may be teams between the two parts that were not passed.
                if row.part > 0 && !is_first_part_whole {
                    continue;
                }
                let Some(account_id) = row.account_id else {
                    is_first_part_whole = row.part > 0;
                    passed_until = Some(row.team_id);
                    continue;
                };
                let team = teams.entry(row.team_id).or_default();
                if row.half > 0 && team.passed_until.is_some() {
                    continue;
                }
                if row.is_last {
                    team.passed_until = Some(account_id);
                }
                if row.due_at.is_some_and(|due_at| due_at <= now) {
                    team.due += 1;
                    let is_suspended = row.is_suspended.unwrap_or(false)
                        && matches!(
                            LINES[line].1,
                            MessageStatus::Queued | MessageStatus::Scheduled
                        );
                    let team_id = row.team_id;
                    entries.push(Entry { line, team_id, account_id, is_suspended });
                }
            }
            let numbered = entries.iter().enumerate().skip(begin);
            let turns = numbered.map(|(number, entry)| (entry.team_id, number, usize::MAX));
            Line { turns: Turns::of(turns), teams, passed_until, last: None }
        });
        Self { entries, lines }
    }

    /// Whether anything waits.
    fn waits(&self) -> bool {
        self.lines.iter().any(|line| !line.turns.is_empty())
    }

    /// Whether the look did not come to the end.
    fn is_part(&self) -> bool {
        let teams = self.lines.iter().flat_map(|line| line.teams.values());
        self.lines.iter().any(|line| line.passed_until.is_some())
            || teams.into_iter().any(|team| team.passed_until.is_some())
    }

    /// Shares the room out: to the lines of LIVE and of TEST alike, and in each line by turns.
    fn share(&mut self, room: usize) -> Vec<Share<Uuid>> {
        let waiting = |environment: Environment| {
            let lines = self.lines.iter().zip(LINES).enumerate();
            let lines = lines
                .filter(move |(_, (line, (of, _)))| *of == environment && !line.turns.is_empty());
            lines.map(|(number, _)| (number, number, usize::MAX)).collect::<Vec<_>>()
        };
        let (live, test) = (waiting(Environment::Live), waiting(Environment::Test));
        let (room_of_live, room_of_test) = live_and_test(room, !live.is_empty(), !test.is_empty());
        let mut shares = Vec::new();
        for (lines, room) in [(live, room_of_live), (test, room_of_test)] {
            for of_line in Turns::of(lines).share(room).0 {
                let room = of_line.members.iter().map(|(_, room)| room).sum();
                let line = &mut self.lines[of_line.group];
                let (of_teams, last) = line.turns.share(room);
                line.last = last.or(line.last);
                shares.extend(of_teams);
            }
        }
        shares
    }

    /// What is wanted of the database for these shares.
    fn wanted(&self, shares: &[Share<Uuid>]) -> Vec<Wanted> {
        let members = shares.iter().flat_map(|share| &share.members);
        let wanted = members.map(|(number, count)| {
            let entry = &self.entries[*number];
            let (environment, status) = LINES[entry.line];
            Wanted {
                number: *number,
                environment,
                status,
                team_id: entry.team_id,
                account_id: entry.account_id,
                is_suspended: entry.is_suspended,
                count: *count,
            }
        });
        wanted.collect()
    }

    /// What of the messages that were taken fits into the shares, and notes who had a turn. A share takes
    /// one message at least, however long: so a team may go over its share by one message, and its other
    /// accounts have their turns later.
    fn within(&mut self, shares: &[Share<Uuid>], taken: Vec<Due>) -> Vec<Due> {
        let mut of_entries: HashMap<usize, Vec<Due>> = HashMap::new();
        for due in taken {
            let number = usize::try_from(due.number).unwrap_or(usize::MAX);
            of_entries.entry(number).or_default().push(due);
        }
        let mut within = Vec::new();
        for share in shares {
            let mut left: usize = share.members.iter().map(|(_, count)| count).sum();
            let mut has_all = true;
            for (number, count) in &share.members {
                let entry = &self.entries[*number];
                let line = &mut self.lines[entry.line];
                let due = of_entries.remove(number).unwrap_or_default();
                if due.len() < *count
                    && due.iter().map(room_of).sum::<usize>() <= (*count).min(left)
                {
                    line.turns.end(*number);
                }
                if left == 0 {
                    has_all = false;
                    break;
                }
                let mut own = (*count).min(left);
                for due in due {
                    if own == 0 {
                        break;
                    }
                    let room = room_of(&due);
                    (own, left) = (own.saturating_sub(room), left.saturating_sub(room));
                    within.push(due);
                }
                let team = line.teams.entry(entry.team_id).or_default();
                team.served.insert(*number);
                team.last = Some(entry.account_id);
            }
            if has_all {
                let last = &self.entries[share.last];
                let team = self.lines[last.line].teams.entry(last.team_id).or_default();
                team.last = Some(last.account_id);
            }
        }
        within
    }

    /// The places behind those that had their turns.
    fn go_on(&self, positions: &mut [RotationPosition; LINES.len()]) {
        for (line, position) in self.lines.iter().zip(positions) {
            if line.passed_until.is_none() {
                position.keep_accounts(|team| line.teams.contains_key(team));
            }
            for (team_id, team) in &line.teams {
                let is_served = team.served.len() == team.due;
                if is_served && (team.passed_until.is_some() || !line.turns.waits(*team_id)) {
                    position.set_account(*team_id, team.passed_until);
                } else if team.last.is_some() {
                    position.set_account(*team_id, team.last);
                }
            }
            let mut with_due = line.teams.values().filter(|team| team.due > 0);
            let is_served = with_due.all(|team| !team.served.is_empty());
            let still_waits = !line.turns.is_empty();
            let last = line.last.filter(|_| still_waits);
            position.set_team(line.passed_until.filter(|_| is_served).or(last));
        }
    }
}
