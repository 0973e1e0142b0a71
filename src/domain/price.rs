//! What a message costs: the row of its channel with the longest dial prefix of its number. No row,
//! no send (R11).

use entity::{message::Channel, price};
use sea_orm::{ColumnTrait, EntityTrait, Order, QueryFilter, QueryOrder};

use super::{Fault, account::stored, recipient::Recipient};
use crate::{App, money::Micros};

/// The price of one unit to this recipient: a segment for SMS, a message otherwise.
pub async fn find(app: &App, recipient: &Recipient) -> Result<Option<Micros>, Fault> {
    let digits = match recipient.channel {
        Channel::Sms | Channel::Whatsapp => recipient.address.trim_start_matches('+'),
        Channel::Email | Channel::Telegram => "",
    };
    let prefixes = (0..=digits.len()).map(|length| &digits[..length]);
    let rows = price::Entity::find()
        .filter(price::Column::Channel.eq(recipient.channel))
        .filter(price::Column::Prefix.is_in(prefixes))
        .all(&app.db.read)
        .await?;
    let longest = rows.into_iter().max_by_key(|row| row.prefix.len());
    Ok(longest.map(|row| stored(row.price_micros)))
}

/// The whole list, by channel and prefix.
pub async fn list(app: &App) -> Result<Vec<price::Model>, Fault> {
    Ok(price::Entity::find()
        .order_by(price::Column::Channel, Order::Asc)
        .order_by(price::Column::Prefix, Order::Asc)
        .all(&app.db.read)
        .await?)
}
