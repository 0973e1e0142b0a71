//! The write transaction of a request, with a slot of the request's team.

use std::ops::Deref;

use sea_orm::{DatabaseTransaction, DbErr};

use super::fair_scheduler::Slot;

/// A write transaction that keeps its team's slot until the transaction ends.
pub struct WriteTransaction {
    txn: DatabaseTransaction,
    _slot: Slot,
}

impl WriteTransaction {
    pub(super) fn new(txn: DatabaseTransaction, slot: Slot) -> Self {
        Self { txn, _slot: slot }
    }

    pub async fn commit(self) -> Result<(), DbErr> {
        self.txn.commit().await
    }

    pub async fn rollback(self) -> Result<(), DbErr> {
        self.txn.rollback().await
    }
}

impl Deref for WriteTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.txn
    }
}
