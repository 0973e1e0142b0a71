//! Finds the price of a message. The price with the longest dial prefix that matches the recipient's number on the
//! channel applies. A message without a price cannot be sent.

use std::{collections::HashMap, sync::Arc, time::Duration};

use entity::{message::Channel, price};
use sea_orm::{EntityTrait, Order, QueryOrder};

use crate::{
    app::App,
    db::Db,
    domain::{Fault, channel::recipient::Recipient},
    limits::read_through_cache::ReadThroughCache,
    money::Micros,
};

/// Maximum time until a changed price list is used by every process.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// Cache of the price list.
pub struct Prices(ReadThroughCache<(), Arc<PriceList>>);

type PriceList = HashMap<Channel, HashMap<String, Micros>>;

impl Default for Prices {
    fn default() -> Self {
        Self(ReadThroughCache::new(1, CACHE_TTL))
    }
}

impl Prices {
    /// Returns the price of one unit to this recipient. A unit is a segment for SMS, and a message for other channels.
    pub async fn find(&self, db: &Db, recipient: &Recipient) -> Result<Option<Micros>, Fault> {
        let list = self.0.get((), || read(db)).await?;
        let Some(prices) = list.get(&recipient.channel) else { return Ok(None) };
        let digits = match recipient.channel {
            Channel::Sms | Channel::Whatsapp => recipient.address.trim_start_matches('+'),
            Channel::Email | Channel::Telegram => "",
        };
        let longest_first = (0..=digits.len()).rev().map(|length| &digits[..length]);
        Ok(longest_first.into_iter().find_map(|prefix| prices.get(prefix)).copied())
    }

    /// Removes the price list from the cache after a change.
    pub fn forget(&self) {
        self.0.forget(&());
    }
}

async fn read(db: &Db) -> Result<Arc<PriceList>, Fault> {
    let mut list = PriceList::new();
    for row in price::Entity::find().all(&db.read).await? {
        list.entry(row.channel).or_default().insert(row.prefix, Micros::from_db(row.price_micros));
    }
    Ok(Arc::new(list))
}

/// Returns the whole price list, ordered by channel and prefix.
pub async fn list(app: &App) -> Result<Vec<price::Model>, Fault> {
    Ok(price::Entity::find()
        .order_by(price::Column::Channel, Order::Asc)
        .order_by(price::Column::Prefix, Order::Asc)
        .all(&app.db.read)
        .await?)
}
