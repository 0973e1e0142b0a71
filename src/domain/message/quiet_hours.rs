//! Quiet hours: the part of the day in which an account's messages are not sent. Quiet hours are in the recipient's
//! local time. The recipient's time zone is that of the contact with the recipient's address, if known. Otherwise the
//! time zone that was set with the quiet hours is used. A message in quiet hours is postponed to their end, or to its
//! `validUntil` if that is earlier; it is never dropped.
//!
//! Quiet hours are applied when a message is claimed, not when it is accepted. So a send needs no extra query, and a
//! change to the quiet hours or to a time zone's rules applies to all messages that are not sent yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use entity::{
    account,
    audit_entry::AuditAction,
    message::{self, Channel, MessageStatus},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DatabaseTransaction, EntityTrait, FromQueryResult, QueryFilter, QueryOrder,
    QuerySelect, Select,
    sea_query::{LockBehavior, LockType},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::delivery::poll::Due;
use crate::{
    app::App,
    db::has_id,
    domain::{
        Failure, Fault, account as accounts,
        api_key::authentication::begin_in_team_as_account,
        audit_log::{Entry, Settings},
        caller::LiveAccountCaller,
        contact,
        events::Change,
        message_batch::{self, MessageBatch},
        refused,
        validate::{self, TIME_ZONE_RULE},
    },
    time_zone::TimeZone,
};

const TIME_RULE: &str = "The time is not valid (expected HH:MM, from 00:00 to 23:59).";
const SAME_TIME: &str =
    "The beginning and the end of the quiet hours must differ. Set null for no quiet hours.";
const MINUTE: TimeDelta = TimeDelta::minutes(1);
const DAY_MINUTES: i32 = 24 * 60;
/// Maximum time until the end of quiet hours. If a clock change skips the end, the quiet hours may end one day later.
const END_AHEAD_MAX: TimeDelta = TimeDelta::days(3);

entity::api_enum! {
    /// Reasons why setQuietHours is refused.
    pub enum SetQuietHoursRefusal {
        /// A time is not in the format HH:MM (00:00 to 23:59), or both times are the same.
        TimeInvalid,
        /// The timeZone is not a name in the IANA time zone database.
        TimeZoneInvalid,
    }
}

/// Quiet hours as input: times as HH:MM, and the IANA name of a time zone.
pub struct NewQuietHours {
    pub from: String,
    pub to: String,
    pub time_zone: String,
}

/// Quiet hours from one minute of the day (inclusive) to another (exclusive), across midnight if `to` is not later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuietHours {
    from_minute: i32,
    to_minute: i32,
    zone: TimeZone,
}

impl QuietHours {
    /// Returns the quiet hours of an account, if it has any.
    pub fn of(account: &account::Model) -> Option<Self> {
        let zone = account.quiet_time_zone.as_deref()?;
        Some(Self {
            from_minute: account.quiet_from_minute?,
            to_minute: account.quiet_to_minute?,
            zone: TimeZone::named(zone).unwrap_or_else(|| {
                // This is not expected, because IANA does not remove names.
                tracing::warn!(zone, "The time zone of quiet hours is unknown; using UTC");
                TimeZone::utc()
            }),
        })
    }

    fn checked(new: &NewQuietHours) -> Result<Self, Failure<SetQuietHoursRefusal>> {
        use SetQuietHoursRefusal as Refusal;
        let from_minute = minute_of_day(&new.from)
            .ok_or_else(|| refused(Refusal::TimeInvalid, &["input", "from"], TIME_RULE))?;
        let to_minute = minute_of_day(&new.to)
            .ok_or_else(|| refused(Refusal::TimeInvalid, &["input", "to"], TIME_RULE))?;
        if from_minute == to_minute {
            return Err(refused(Refusal::TimeInvalid, &["input", "to"], SAME_TIME));
        }
        let zone = validate::time_zone(&new.time_zone).ok_or_else(|| {
            refused(Refusal::TimeZoneInvalid, &["input", "timeZone"], TIME_ZONE_RULE)
        })?;
        Ok(Self { from_minute, to_minute, zone })
    }

    /// Returns the beginning of the quiet hours as HH:MM in local time.
    pub fn from(&self) -> String {
        hh_mm(self.from_minute)
    }

    /// Returns the end of the quiet hours as HH:MM in local time.
    pub fn to(&self) -> String {
        hh_mm(self.to_minute)
    }

    /// Returns the IANA name of the time zone.
    pub fn time_zone(&self) -> &str {
        self.zone.name()
    }

    fn minute_of_day_at(&self, at: DateTime<Utc>) -> i32 {
        let local = at.timestamp() + i64::from(self.zone.offset_at(at));
        i32::try_from(local.div_euclid(60).rem_euclid(DAY_MINUTES.into())).unwrap_or(0)
    }

    fn contains(&self, at: DateTime<Utc>) -> bool {
        let minute = self.minute_of_day_at(at);
        let (has_begun, has_not_ended) = (minute >= self.from_minute, minute < self.to_minute);
        if self.from_minute < self.to_minute {
            has_begun && has_not_ended
        } else {
            has_begun || has_not_ended
        }
    }

    /// Returns the end of the quiet hours if `at` is in quiet hours. The end is the first minute that is not in quiet
    /// hours, even across clock changes.
    pub fn end(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if !self.contains(at) {
            return None;
        }
        let mut minute = at.duration_trunc(MINUTE).unwrap_or(at);
        let latest = minute + END_AHEAD_MAX;
        while minute < latest {
            // This end is correct unless the clock changes before it.
            let end = minute + MINUTE * self.minutes_left(minute);
            match self.next_change_of_clock(minute, end) {
                Some(change) if self.contains(change) => minute = change,
                Some(change) => return Some(change.min(latest)),
                None => return Some(end.min(latest)),
            }
        }
        Some(latest)
    }

    /// Returns the minutes of local time until the end of the quiet hours.
    fn minutes_left(&self, at: DateTime<Utc>) -> i32 {
        let left = (self.to_minute - self.minute_of_day_at(at)).rem_euclid(DAY_MINUTES);
        if left == 0 { DAY_MINUTES } else { left }
    }

    /// Returns the first minute after `from`, up to and including `to`, at which the zone's clock changes.
    fn next_change_of_clock(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let change = self.zone.next_change(from)?;
        // A change within a minute applies from the next full minute.
        let minute = change.duration_trunc(MINUTE).unwrap_or(change);
        let minute = if minute < change { minute + MINUTE } else { minute };
        (minute <= to).then_some(minute)
    }
}

fn minute_of_day(text: &str) -> Option<i32> {
    let two_digits = |part: &str| {
        let is_plain = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_plain { part.parse::<i32>().ok() } else { None }
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

fn hh_mm(minute_of_day: i32) -> String {
    format!("{:02}:{:02}", minute_of_day / 60, minute_of_day % 60)
}

/// Sets the quiet hours of the caller's account; `None` removes them. The worker then checks messages that were
/// postponed by the old hours ([`recheck_postponed`]).
pub async fn set(
    app: &App,
    caller: &LiveAccountCaller,
    new: Option<NewQuietHours>,
) -> Result<account::Model, Failure<SetQuietHoursRefusal>> {
    let quiet = new.as_ref().map(QuietHours::checked).transpose()?;
    let account = caller.account();
    let now = app.clock.now();

    let txn = begin_in_team_as_account(app, caller).await?;
    let found = accounts::own_in(&txn, account).await?;
    let to = account::ActiveModel {
        quiet_from_minute: Set(quiet.as_ref().map(|quiet| quiet.from_minute)),
        quiet_to_minute: Set(quiet.as_ref().map(|quiet| quiet.to_minute)),
        quiet_time_zone: Set(quiet.map(|quiet| quiet.zone.name().to_owned())),
        quiet_check_after: Set(Some(Uuid::nil())),
        updated_at: Set(now),
        ..Default::default()
    };
    let changed = account::Entity::update_many()
        .set(to)
        .filter(account::Column::Id.eq(account.account_id))
        .exec_with_returning(&txn)
        .await?;
    let changed = changed.into_iter().next().ok_or(Fault::Broken("a key's account exists"))?;
    let entry = Entry::of(AuditAction::SetQuietHours, changed.id).to(&changed);
    txn.commit(app, entry.changed(settings(&found), settings(&changed))).await?;
    app.events.publish([Change::of_account(&changed)]);
    app.backlog.notify_one();
    Ok(changed)
}

/// Returns the quiet hours for the audit log.
fn settings(account: &account::Model) -> Settings {
    let shown = QuietHours::of(account).map_or(
        Value::Null,
        |quiet| json!({ "from": quiet.from(), "to": quiet.to(), "timeZone": quiet.time_zone() }),
    );
    Settings::from([("quietHours", shown)])
}

/// The fields of a message on which its quiet hours depend.
#[derive(FromQueryResult)]
struct Candidate {
    id: Uuid,
    account_id: Uuid,
    channel: Channel,
    recipient: String,
    valid_until: Option<DateTime<Utc>>,
    due_at: Option<DateTime<Utc>>,
}

impl Candidate {
    fn address(&self) -> (Uuid, Channel, String) {
        (self.account_id, self.channel, self.recipient.clone())
    }
}

/// Postpones the due messages that are in quiet hours, and returns the others. The caller holds the rows' locks.
pub(in crate::domain) async fn postpone(
    app: &App,
    txn: &DatabaseTransaction,
    due: Vec<Due>,
    now: DateTime<Utc>,
) -> Result<Vec<Due>, Fault> {
    let is_to_be_sent = |row: &&Due| row.is_unclaimed() && !row.is_expired(now);
    let accounts: BTreeSet<Uuid> =
        due.iter().filter(is_to_be_sent).map(|row| row.account_id).collect();
    if accounts.is_empty() {
        return Ok(due);
    }
    let quiet = account::Entity::find()
        .filter(has_id(app.db.backend(), accounts))
        .filter(account::Column::QuietTimeZone.is_not_null())
        .all(txn)
        .await?;
    let quiet: HashMap<Uuid, QuietHours> =
        quiet.iter().filter_map(|row| Some((row.id, QuietHours::of(row)?))).collect();
    let candidates = due.iter().filter(is_to_be_sent);
    let candidates = candidates.filter(|row| quiet.contains_key(&row.account_id));
    let candidates = candidates.map(|row| Candidate {
        id: row.id,
        account_id: row.account_id,
        channel: row.channel,
        recipient: row.recipient.clone(),
        valid_until: row.valid_until,
        due_at: None,
    });
    let ends = quiet_ends(txn, &quiet, &candidates.collect::<Vec<_>>(), now).await?;
    let (postponed, others): (Vec<_>, Vec<_>) =
        due.into_iter().partition(|message| ends.contains_key(&message.id));

    let mut by_end: BTreeMap<DateTime<Utc>, Vec<Uuid>> = BTreeMap::new();
    for message in &postponed {
        by_end.entry(ends[&message.id]).or_default().push(message.id);
    }
    for (until, messages) in by_end {
        let to = message::ActiveModel {
            status: Set(MessageStatus::Scheduled),
            due_at: Set(Some(until)),
            updated_at: Set(now),
            ..Default::default()
        };
        let update = message::Entity::update_many().set(to);
        update.filter(has_id(app.db.backend(), messages)).exec(txn).await?;
    }
    Ok(others)
}

/// Checks one batch of postponed messages against the account's current quiet hours. `after` is the last message of the
/// previous batch. Returns the last message of this batch, or `None` if this batch is the final one. The caller holds
/// the team's lock.
pub(in crate::domain) async fn recheck_postponed(
    app: &App,
    txn: &DatabaseTransaction,
    account: &account::Model,
    after: Uuid,
) -> Result<Option<Uuid>, Fault> {
    let now = app.clock.now();
    let MessageBatch { messages, has_more } =
        message_batch::batch_of(txn, postponed(account.id, after)).await?;
    let last = messages.last().copied().filter(|_| has_more);
    // Messages that are already due, or claimed by a worker, are checked when they are claimed.
    let rows: Vec<Candidate> = message::Entity::find()
        .select_only()
        .columns([
            message::Column::Id,
            message::Column::AccountId,
            message::Column::Channel,
            message::Column::Recipient,
            message::Column::ValidUntil,
            message::Column::DueAt,
        ])
        .filter(has_id(app.db.backend(), messages))
        .filter(message::Entity::is_put_off())
        .filter(message::Column::DueAt.gt(now))
        .filter(message::Column::LeaseId.is_null())
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_model()
        .all(txn)
        .await?;
    let quiet = QuietHours::of(account).map(|quiet| (account.id, quiet)).into_iter().collect();
    let ends = quiet_ends(txn, &quiet, &rows, now).await?;
    let mut by_end: BTreeMap<DateTime<Utc>, Vec<Uuid>> = BTreeMap::new();
    for row in rows {
        let until = ends.get(&row.id).copied().unwrap_or(now);
        if row.due_at != Some(until) {
            by_end.entry(until).or_default().push(row.id);
        }
    }
    for (until, messages) in by_end {
        message::Entity::update_many()
            .set(message::ActiveModel { due_at: Set(Some(until)), ..Default::default() })
            .filter(has_id(app.db.backend(), messages))
            .exec(txn)
            .await?;
    }
    Ok(last)
}

/// Selects an account's postponed messages whose ids are greater than `after`, in id order. The query uses the index
/// `message_put_off`.
pub fn postponed(account_id: Uuid, after: Uuid) -> Select<message::Entity> {
    message::Entity::find()
        .filter(message::Column::AccountId.eq(account_id))
        .filter(message::Entity::is_put_off())
        .filter(message::Column::Id.gt(after))
        .order_by_asc(message::Column::Id)
}

/// For each message that is in quiet hours now, returns when the worker must process the message next. This is the end
/// of the quiet hours, or the message's `validUntil` if that is earlier. At its `validUntil` the message expires.
async fn quiet_ends(
    txn: &DatabaseTransaction,
    quiet: &HashMap<Uuid, QuietHours>,
    rows: &[Candidate],
    now: DateTime<Utc>,
) -> Result<HashMap<Uuid, DateTime<Utc>>, Fault> {
    if quiet.is_empty() {
        return Ok(HashMap::new());
    }
    let zones = contact::list::time_zones_of(txn, rows.iter().map(Candidate::address)).await?;
    // Each end is computed once for all messages with the same hours and time zone.
    let mut known_ends: HashMap<QuietHours, Option<DateTime<Utc>>> = HashMap::new();
    let ends = rows.iter().filter_map(|row| {
        let mut hours = quiet.get(&row.account_id)?.clone();
        if let Some(zone) = zones.get(&row.address()) {
            hours.zone = zone.clone();
        }
        let end = (*known_ends.entry(hours).or_insert_with_key(|hours| hours.end(now)))?;
        Some((row.id, row.valid_until.map_or(end, |valid_until| valid_until.min(end))))
    });
    Ok(ends.collect())
}

#[cfg(test)]
mod tests;
