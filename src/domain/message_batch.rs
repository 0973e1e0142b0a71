//! Splits a change to any number of messages into transactions of a limited size.

use entity::message;
use sea_orm::{ConnectionTrait, QuerySelect, Select, sea_query::Expr};
use uuid::Uuid;

use super::Fault;

/// Maximum number of messages that one transaction changes.
pub const BATCH_MESSAGES_MAX: u64 = 500;

/// Maximum number of bytes of text in these messages. The size matters because `SQLite` rewrites the whole row,
/// whatever changes in it.
pub const BATCH_BYTES_MAX: i64 = 4 * 1024 * 1024;

/// The messages of one transaction, in the order of the selection.
pub(in crate::domain) struct MessageBatch {
    pub messages: Vec<Uuid>,
    pub has_more: bool,
}

/// Returns the first of these messages, as many as one transaction may change. If there are any messages, at least one
/// is returned.
pub(in crate::domain) async fn batch_of<C: ConnectionTrait>(
    db: &C,
    messages: Select<message::Entity>,
) -> Result<MessageBatch, Fault> {
    let bytes = "CAST(octet_length(text) + COALESCE(octet_length(html), 0) AS BIGINT)";
    let rows: Vec<(Uuid, i64)> = messages
        .select_only()
        .column(message::Column::Id)
        .column_as(Expr::cust(bytes), "bytes")
        .limit(BATCH_MESSAGES_MAX)
        .into_tuple()
        .all(db)
        .await?;
    let mut remaining = BATCH_BYTES_MAX;
    let fits = rows.iter().enumerate().take_while(|(index, (_, bytes))| {
        remaining -= bytes;
        remaining >= 0 || *index == 0
    });
    let messages: Vec<Uuid> = fits.map(|(_, (id, _))| *id).collect();
    let is_full = u64::try_from(rows.len()).is_ok_and(|rows| rows == BATCH_MESSAGES_MAX);
    let has_more = is_full || messages.len() < rows.len();
    Ok(MessageBatch { messages, has_more })
}
