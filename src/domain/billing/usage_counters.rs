//! Usage counters. A counter is updated in the transaction of the counted event, on the UTC day of the event.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use entity::{
    api_key::Environment,
    message::{self, Channel},
    phone_number, usage_day,
};
use sea_orm::{
    ActiveEnum,
    ActiveValue::Set,
    ConnectionTrait, EntityTrait, ExprTrait,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::usage::{FIGURES, Figures};
use crate::{app::App, domain::Fault};

/// The counter that an event is added to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub account_id: Uuid,
    pub team_id: Uuid,
    pub day: NaiveDate,
    /// The channel of the messages; `None` for phone number fees.
    pub channel: Option<Channel>,
    pub country: String,
}

impl Slot {
    /// Returns the slot for an event at `now` that concerns this message; `None` for a TEST message, because TEST
    /// messages are not counted.
    pub fn of(message: &message::Model, now: DateTime<Utc>) -> Option<Self> {
        (message.environment == Environment::Live).then(|| Self {
            account_id: message.account_id,
            team_id: message.team_id,
            day: now.date_naive(),
            channel: Some(message.channel),
            country: message.country.clone().unwrap_or_default(),
        })
    }

    /// Returns the slot for a fee for this phone number at `now`.
    pub fn of_fee(number: &phone_number::Model, now: DateTime<Utc>) -> Self {
        Self {
            account_id: number.account_id,
            team_id: number.team_id,
            day: now.date_naive(),
            channel: None,
            country: number.country.clone(),
        }
    }

    /// Returns the stored form of the channel; empty for fees.
    pub fn channel_text(&self) -> String {
        self.channel.map(|channel| channel.to_value()).unwrap_or_default()
    }
}

/// Counts events in the transaction of the events, under the lock of their team. One statement writes all slots in a
/// fixed order.
pub async fn add<C: ConnectionTrait>(
    app: &App,
    txn: &C,
    counted: BTreeMap<Slot, Figures>,
) -> Result<(), Fault> {
    use usage_day::Column;
    if counted.is_empty() {
        return Ok(());
    }
    let rows = counted.into_iter().map(|(slot, figures)| usage_day::ActiveModel {
        channel: Set(slot.channel_text()),
        account_id: Set(slot.account_id),
        day: Set(slot.day),
        country: Set(slot.country),
        team_id: Set(slot.team_id),
        messages: Set(figures.messages),
        segments: Set(figures.segments),
        delivered: Set(figures.delivered),
        failed: Set(figures.failed),
        charged_micros: Set(figures.charged_micros),
        refunded_micros: Set(figures.refunded_micros),
        updated_at: Set(app.clock.now()),
    });
    let sums = FIGURES.map(|column| {
        let more = Expr::col(("excluded", column));
        (column, Expr::col((usage_day::Entity, column)).add(more))
    });
    let add_up =
        OnConflict::columns([Column::AccountId, Column::Day, Column::Channel, Column::Country])
            .values(sums)
            .update_column(Column::UpdatedAt)
            .to_owned();
    usage_day::Entity::insert_many(rows).on_conflict(add_up).exec_without_returning(txn).await?;
    Ok(())
}
