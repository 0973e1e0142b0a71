//! Checks the database directly: every acknowledged message is stored, and no message was stored or charged
//! twice.

use std::collections::{BTreeMap, BTreeSet};

use entity::{
    ledger_entry::{self, LedgerKind},
    message,
};
use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use tollgate::db::Db;
use uuid::Uuid;

use crate::load::Journal;

/// Compares the database with the journal, and returns the number of messages.
pub async fn check(url: &str, journal: &Journal) -> usize {
    let db = Db::connect(url, 1).await.expect("the database opens");
    let messages: Vec<(Uuid, String)> = message::Entity::find()
        .select_only()
        .columns([message::Column::Id, message::Column::Text])
        .into_tuple()
        .all(&db.read)
        .await
        .expect("the messages are read");
    let charges: Vec<Option<Uuid>> = ledger_entry::Entity::find()
        .select_only()
        .column(ledger_entry::Column::MessageId)
        .filter(ledger_entry::Column::Kind.eq(LedgerKind::Charge))
        .into_tuple()
        .all(&db.read)
        .await
        .expect("the charges are read");
    db.close().await.expect("the connections close");

    let stored: BTreeMap<&str, Uuid> =
        messages.iter().map(|(id, text)| (text.as_str(), *id)).collect();
    // Every send has a unique text, so sends without an idempotency key are checked too.
    assert_eq!(stored.len(), messages.len(), "a send was stored twice");
    let acknowledged = journal.acknowledged();
    for (text, id) in &acknowledged {
        assert_eq!(stored.get(text.as_str()), Some(id), "{text} was acknowledged and is missing");
    }
    let charged: BTreeSet<Uuid> = charges.iter().copied().flatten().collect();
    assert_eq!(charged.len(), charges.len(), "a message was charged twice");
    let ids: BTreeSet<Uuid> = stored.values().copied().collect();
    assert!(charged == ids, "{} charges for {} messages", charged.len(), ids.len());
    messages.len()
}
