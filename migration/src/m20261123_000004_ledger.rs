//! The ledger. Triggers make it append-only. A message has one charge and at most one refund; an
//! idempotency key is unique per team.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table("ledger_entry")
                    .col(ColumnDef::new("id").uuid().not_null().primary_key())
                    .col(ColumnDef::new("team_id").uuid().not_null())
                    .col(ColumnDef::new("account_id").uuid())
                    .col(ColumnDef::new("message_id").uuid())
                    .col(ColumnDef::new("kind").text().not_null())
                    .col(ColumnDef::new("amount_micros").big_integer().not_null())
                    .col(ColumnDef::new("balance_after_micros").big_integer().not_null())
                    .col(ColumnDef::new("idempotency_key").text())
                    .col(ColumnDef::new("note").text())
                    .col(ColumnDef::new("created_at").timestamp_with_time_zone().not_null())
                    // No foreign keys to team and account, for the same reason as in `message`.
                    .foreign_key(
                        ForeignKey::create().from("ledger_entry", "message_id").to("message", "id"),
                    )
                    .check(Expr::cust("balance_after_micros BETWEEN 0 AND 1000000000000000"))
                    .check(Expr::cust(
                        "amount_micros BETWEEN -1000000000000000 AND 1000000000000000",
                    ))
                    .check(Expr::cust(
                        "(kind = 'TOP_UP' AND amount_micros > 0 AND message_id IS NULL) \
                         OR (kind = 'ADJUSTMENT' AND amount_micros <> 0 AND message_id IS NULL) \
                         OR (kind = 'CHARGE' AND amount_micros < 0 AND message_id IS NOT NULL \
                             AND account_id IS NOT NULL) \
                         OR (kind = 'REFUND' AND amount_micros > 0 AND message_id IS NOT NULL \
                             AND account_id IS NOT NULL)",
                    ))
                    .to_owned(),
            )
            .await?;
        for (name, columns, is_unique) in [
            ("ledger_entry_once_per_message", ["message_id", "kind"], true),
            ("ledger_entry_idempotency_key", ["team_id", "idempotency_key"], true),
            ("ledger_entry_of_team", ["team_id", "id"], false),
            ("ledger_entry_of_account", ["account_id", "id"], false),
        ] {
            let mut index = Index::create();
            index.name(name).table("ledger_entry").col(columns[0]).col(columns[1]);
            if is_unique {
                index.unique();
            }
            manager.create_index(index).await?;
        }
        let append_only: &[&str] = match manager.get_database_backend() {
            DbBackend::Postgres => &[
                "CREATE FUNCTION ledger_entry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$",
                "CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE \
                 ON ledger_entry EXECUTE FUNCTION ledger_entry_is_append_only()",
            ],
            _ => &[
                "CREATE TRIGGER ledger_entry_no_update BEFORE UPDATE ON ledger_entry \
                 BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
                "CREATE TRIGGER ledger_entry_no_delete BEFORE DELETE ON ledger_entry \
                 BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
            ],
        };
        for statement in append_only {
            manager.get_connection().execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite deletes a table's rows before it drops the table, which the trigger would refuse.
        if manager.get_database_backend() == DbBackend::Sqlite {
            let connection = manager.get_connection();
            connection.execute_unprepared("DROP TRIGGER ledger_entry_no_update").await?;
            connection.execute_unprepared("DROP TRIGGER ledger_entry_no_delete").await?;
        }
        manager.drop_table(Table::drop().table("ledger_entry").to_owned()).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            manager
                .get_connection()
                .execute_unprepared("DROP FUNCTION ledger_entry_is_append_only()")
                .await?;
        }
        Ok(())
    }
}
