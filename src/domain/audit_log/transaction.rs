//! The transaction of a change. The change and its entry in the audit log are committed together or not at all.

use std::ops::Deref;

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement,
};

use super::entry::{Actor, Entry};
use crate::{app::App, db::WriteTransaction, domain::Fault};

/// A transaction that can only be committed with an entry in the audit log.
pub struct AuditedTransaction {
    txn: WriteTransaction,
    by: Actor,
}

impl AuditedTransaction {
    pub(in crate::domain) fn new(txn: WriteTransaction, by: impl Into<Actor>) -> Self {
        Self { txn, by: by.into() }
    }

    /// Writes the entry, and commits it together with the change.
    pub async fn commit(self, app: &App, entry: Entry) -> Result<(), Fault> {
        entry.write(app, self.by, &*self.txn).await?;
        Ok(self.txn.commit().await?)
    }
}

impl Deref for AuditedTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.txn
    }
}

/// Runs statements in the transaction.
#[async_trait]
impl ConnectionTrait for AuditedTransaction {
    fn get_database_backend(&self) -> DbBackend {
        self.txn.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.txn.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.txn.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.txn.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.txn.query_all_raw(statement).await
    }
}
