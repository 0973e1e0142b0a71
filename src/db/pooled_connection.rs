//! A connection from a pool, for either database. It runs statements, and returns to the pool when it is dropped.

use deadpool::managed::Object;
use futures_util::{TryStreamExt as _, stream::BoxStream};
use sea_orm::{
    ExecResult, QueryResult, Statement,
    sqlx::{
        self, AssertSqlSafe, Database, PgConnection, Postgres, Sqlite, SqliteConnection,
        query::Query,
    },
};
use sea_query_sqlx::SqlxValues;

use super::session::ConnectionManager;

/// Begins a transaction whose statements all read the same snapshot. The transaction has no timeout and an unrestricted
/// planner, because it may read whole tables.
const POSTGRES_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
     SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on; \
     SET LOCAL enable_bitmapscan = on; SET LOCAL enable_hashjoin = on; \
     SET LOCAL enable_mergejoin = on";

pub(super) enum PooledConnection {
    Postgres(Object<ConnectionManager<PgConnection>>),
    Sqlite(Object<ConnectionManager<SqliteConnection>>),
}

impl PooledConnection {
    /// Closes the connection. If a statement is running on the connection, the statement is ended.
    pub fn close(self) {
        match self {
            Self::Postgres(session) => Object::take(session).cancel(),
            Self::Sqlite(session) => Object::take(session).cancel(),
        }
    }

    /// Begins a transaction whose statements all read the same snapshot.
    pub async fn begin_snapshot(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Postgres(session) => {
                sqlx::raw_sql(POSTGRES_SNAPSHOT).execute(&mut session.connection).await?;
            }
            Self::Sqlite(session) => {
                sqlx::raw_sql("BEGIN").execute(&mut session.connection).await?;
            }
        }
        Ok(())
    }

    pub async fn execute(&mut self, statement: Statement) -> Result<ExecResult, sqlx::Error> {
        Ok(match self {
            Self::Postgres(session) => {
                query::<Postgres>(statement).execute(&mut session.connection).await?.into()
            }
            Self::Sqlite(session) => {
                query::<Sqlite>(statement).execute(&mut session.connection).await?.into()
            }
        })
    }

    pub async fn one(&mut self, statement: Statement) -> Result<Option<QueryResult>, sqlx::Error> {
        Ok(match self {
            Self::Postgres(session) => {
                let row = query::<Postgres>(statement).fetch_optional(&mut session.connection);
                row.await?.map(QueryResult::from)
            }
            Self::Sqlite(session) => {
                let row = query::<Sqlite>(statement).fetch_optional(&mut session.connection);
                row.await?.map(QueryResult::from)
            }
        })
    }

    pub async fn all(&mut self, statement: Statement) -> Result<Vec<QueryResult>, sqlx::Error> {
        Ok(match self {
            Self::Postgres(session) => {
                let rows = query::<Postgres>(statement).fetch_all(&mut session.connection);
                rows.await?.into_iter().map(QueryResult::from).collect()
            }
            Self::Sqlite(session) => {
                let rows = query::<Sqlite>(statement).fetch_all(&mut session.connection);
                rows.await?.into_iter().map(QueryResult::from).collect()
            }
        })
    }

    pub fn stream(
        &mut self,
        statement: Statement,
    ) -> BoxStream<'_, Result<QueryResult, sqlx::Error>> {
        match self {
            Self::Postgres(session) => {
                let rows = query::<Postgres>(statement).fetch(&mut session.connection);
                Box::pin(rows.map_ok(QueryResult::from))
            }
            Self::Sqlite(session) => {
                let rows = query::<Sqlite>(statement).fetch(&mut session.connection);
                Box::pin(rows.map_ok(QueryResult::from))
            }
        }
    }
}

fn query<D: Database>(statement: Statement) -> Query<'static, D, SqlxValues>
where
    SqlxValues: sqlx::IntoArguments<D>,
{
    let values = statement.values.unwrap_or_else(|| sea_orm::Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(statement.sql), SqlxValues(values))
}
